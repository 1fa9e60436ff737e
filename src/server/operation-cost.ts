import {
  type ArgumentNode,
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  getNamedType,
  getNullableType,
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLSchema,
  isCompositeType,
  isInterfaceType,
  isListType,
  isObjectType,
  Kind,
  type OperationDefinitionNode,
  type SelectionSetNode,
} from 'graphql';

/** Objects that one operation may ask for; a field that works for its answer says as how many it counts. */
export const costMax = 5_000;
const pageDefault = 50;
/** What a list without a page size is taken to have: a run's partitions, steps, scopes. */
const listGuess = 10;

interface Asked {
  schema: GraphQLSchema;
  document: DocumentNode;
  operation: OperationDefinitionNode;
  variables: Readonly<Record<string, unknown>>;
}

/**
 * The most objects that an operation makes, by its page sizes: `runs(first: 200) { edges { node { progress { … } } } }` is a page,
 * and 200 edges, nodes and progresses. Leaves are free; introspection has limits of its own.
 *
 * Takes a valid document. A fragment is measured once for each page size it stands under.
 */
export function operationCost(asked: Asked): number {
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const definition of asked.document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition);
  }
  const known = new Map<string, number>();

  /** @param page the size that the connection around has been asked for; its lists have as many items */
  const costOf = (set: SelectionSetNode, type: GraphQLNamedType | undefined, page: number | null): number =>
    set.selections.reduce((sum, selection) => {
      if (selection.kind === Kind.FIELD) return sum + costOfField(selection, type, page);
      if (selection.kind === Kind.INLINE_FRAGMENT) {
        const inner = selection.typeCondition ? asked.schema.getType(selection.typeCondition.name.value) : type;
        return sum + costOf(selection.selectionSet, inner, page);
      }
      return sum + costOfFragment(selection.name.value, page);
    }, 0);

  const costOfFragment = (name: string, page: number | null): number => {
    const key = `${name} ${String(page)}`;
    const before = known.get(key);
    if (before !== undefined) return before;
    const fragment = fragments.get(name);
    if (!fragment) return 0;
    const cost = costOf(fragment.selectionSet, asked.schema.getType(fragment.typeCondition.name.value), page);
    known.set(key, cost);
    return cost;
  };

  const costOfField = (node: FieldNode, parent: GraphQLNamedType | undefined, page: number | null): number => {
    if (!node.selectionSet || node.name.value.startsWith('__')) return 0;
    const field = isObjectType(parent) || isInterfaceType(parent) ? parent.getFields()[node.name.value] : undefined;
    if (!field || !isCompositeType(getNamedType(field.type))) return 0;
    const own = pageSize(node, field, asked);
    const isList = isListType(getNullableType(field.type));
    const items = isList ? (own ?? page ?? listGuess) : 1;
    return items * (weightOf(field) + costOf(node.selectionSet, getNamedType(field.type), isList ? null : own));
  };

  return costOf(asked.operation.selectionSet, asked.schema.getRootType(asked.operation.operation) ?? undefined, null);
}

/** How many items a field is asked for; null where it takes no such argument. */
function pageSize(node: FieldNode, field: GraphQLField<unknown, unknown>, asked: Asked): number | null {
  const takes = (name: string): boolean => field.args.some((argument) => argument.name === name);
  const given = (name: string): unknown => {
    const argument = node.arguments?.find((candidate) => candidate.name.value === name);
    return argument ? valueOf(argument, asked) : undefined;
  };
  if (takes('ids')) {
    const ids = given('ids');
    return Array.isArray(ids) ? ids.length : 1;
  }
  if (!takes('first') && !takes('last')) return null;
  const sizes = [given('first'), given('last')].filter((size) => typeof size === 'number');
  return sizes.length > 0 ? Math.max(...sizes) : pageDefault;
}

/** Only as far as sizes need it: a number, or a list's length. */
function valueOf({ value }: ArgumentNode, { operation, variables }: Asked): unknown {
  const name = value.kind === Kind.VARIABLE ? value.name.value : undefined;
  if (name !== undefined && variables[name] !== undefined) return variables[name];
  const literal =
    name === undefined
      ? value
      : operation.variableDefinitions?.find(({ variable }) => variable.name.value === name)?.defaultValue;
  if (literal?.kind === Kind.INT) return Number(literal.value);
  return literal?.kind === Kind.LIST ? literal.values : undefined;
}

/** What a field weighs, `extensions.cost` of its declaration: 1 unless it reads far more than it gives. */
export function weightOf({ extensions }: Pick<GraphQLField<unknown, unknown>, 'extensions'>): number {
  const { cost } = extensions as { cost?: unknown };
  return typeof cost === 'number' ? cost : 1;
}
