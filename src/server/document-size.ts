import {
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  Kind,
  type OperationDefinitionNode,
  type SelectionSetNode,
} from 'graphql';

/** What an operation may have, after its fragments are put in their places. */
export const operationLimits = {
  /** Of the whole document; the parser stops there. */
  tokens: 1_000,
  depth: 10,
  /** The usual introspection query needs 15. */
  introspectionDepth: 15,
  aliases: 15,
  rootFields: 10,
  directives: 20,
} as const;

/** `depth` counts levels of fields; `introspection` those below `__schema` or `__type`, itself included. */
interface Size {
  depth: number;
  introspection: number;
  aliases: number;
  directives: number;
  /** Fields on the first level. */
  fields: number;
}

const nothing: Size = { depth: 0, introspection: 0, aliases: 0, directives: 0, fields: 0 };

/**
 * What a document has too much of, in words; empty if nothing. Each fragment is measured once, so a chain of fragments that would
 * unfold into a million fields costs as much as its text.
 */
export function measureDocument(document: DocumentNode): string[] {
  const fragments = new Map<string, FragmentDefinitionNode>();
  const operations: OperationDefinitionNode[] = [];
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition);
    if (definition.kind === Kind.OPERATION_DEFINITION) operations.push(definition);
  }
  const measure = measureWith(fragments);
  return operations.flatMap((operation) => {
    const own = operation.directives?.length ?? 0;
    const onVariables = (operation.variableDefinitions ?? []).reduce(
      (sum, { directives }) => sum + (directives?.length ?? 0),
      0,
    );
    const size = measure(operation.selectionSet);
    return excess({ ...size, directives: size.directives + own + onVariables });
  });
}

function measureWith(
  fragments: ReadonlyMap<string, FragmentDefinitionNode>,
): (set: SelectionSetNode | undefined) => Size {
  const measured = new Map<string, Size>();

  const measureFragment = (name: string): Size => {
    const known = measured.get(name);
    if (known) return known;
    // A fragment that spreads itself is graphql's to refuse; here it ends.
    measured.set(name, nothing);
    const fragment = fragments.get(name);
    const size = fragment ? withDirectives(measure(fragment.selectionSet), fragment.directives?.length) : nothing;
    measured.set(name, size);
    return size;
  };

  const measure = (set: SelectionSetNode | undefined): Size =>
    (set?.selections ?? []).reduce<Size>((sum, selection) => {
      if (selection.kind === Kind.FIELD) return add(sum, sizeOfField(selection, measure(selection.selectionSet)));
      const inner =
        selection.kind === Kind.INLINE_FRAGMENT
          ? measure(selection.selectionSet)
          : measureFragment(selection.name.value);
      return add(sum, withDirectives(inner, selection.directives?.length));
    }, nothing);

  return measure;
}

function sizeOfField(field: FieldNode, inner: Size): Size {
  const depth = 1 + Math.max(inner.depth, 0);
  const introspects = field.name.value === '__schema' || field.name.value === '__type';
  return {
    depth: introspects ? 0 : depth,
    introspection: introspects ? depth : inner.introspection,
    aliases: inner.aliases + (field.alias ? 1 : 0),
    directives: inner.directives + (field.directives?.length ?? 0),
    fields: 1,
  };
}

function withDirectives(size: Size, count = 0): Size {
  return { ...size, directives: size.directives + count };
}

function add(a: Size, b: Size): Size {
  return {
    depth: Math.max(a.depth, b.depth),
    introspection: Math.max(a.introspection, b.introspection),
    aliases: a.aliases + b.aliases,
    directives: a.directives + b.directives,
    fields: a.fields + b.fields,
  };
}

function excess(size: Size): string[] {
  const check = (what: string, found: number, max: number): string[] =>
    found > max ? [`The operation has ${String(found)} ${what}; at most ${String(max)} are allowed.`] : [];
  return [
    ...check('levels', size.depth, operationLimits.depth),
    ...check('levels of introspection', size.introspection, operationLimits.introspectionDepth),
    ...check('aliases', size.aliases, operationLimits.aliases),
    ...check('root fields', size.fields, operationLimits.rootFields),
    ...check('directives', size.directives, operationLimits.directives),
  ];
}
