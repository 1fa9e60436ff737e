/**
 * The document of a root field that nobody wrote one for: what the field is by itself, without what hangs on it. REST answers with
 * it, and the SDK has it for every field that sdk/operations does not ask for in its own way.
 */
import {
  getNamedType,
  getNullableType,
  type GraphQLField,
  type GraphQLInterfaceType,
  type GraphQLNamedType,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLSchema,
  isInterfaceType,
  isLeafType,
  isListType,
  isObjectType,
  isRequiredArgument,
  isUnionType,
} from 'graphql';

import { weightOf } from '../operation-cost.ts';

type Composite = GraphQLObjectType | GraphQLInterfaceType;
type AnyField = GraphQLField<unknown, unknown>;

export interface RootDocumentOptions {
  /** Whether the reader may see a field; what it may not is left out instead of answered with an error. */
  mayRead(field: AnyField): boolean;
}

/** Objects below the field's own: `Run.failure`, but not what hangs on that in turn. */
const levelsMax = 2;
/** What names a thing that stands inside another; all else of it is its own request. */
const namingFields = new Set(['id', 'runId', 'slug', 'name', 'title', 'version', 'status', 'seq', 'cursor']);

/** The operation `Prefix + field` with every argument of the field as a variable. */
export function rootDocument(
  schema: GraphQLSchema,
  kind: 'query' | 'mutation' | 'subscription',
  field: AnyField,
  options: RootDocumentOptions & { name: string },
): string {
  const declared = field.args.map(({ name, type }) => `$${name}: ${String(type)}`).join(', ');
  const passed = field.args.map(({ name }) => `${name}: $${name}`).join(', ');
  const selection = selectionOf(schema, field.type, { ...options, path: [] });
  return `${kind} ${options.name}${declared && `(${declared})`} { ${field.name}${passed && `(${passed})`}${selection} }`;
}

interface Place extends RootDocumentOptions {
  /** The types from the root field down to here. */
  path: readonly string[];
}

function selectionOf(schema: GraphQLSchema, output: GraphQLOutputType, place: Place): string {
  const type = getNamedType(output);
  if (isLeafType(type)) return '';
  const parts = isUnionType(type)
    ? unionParts(schema, type.getTypes(), place)
    : compositeParts(schema, type as Composite, place);
  return parts.length > 0 ? ` { ${parts.join(' ')} }` : '';
}

/** The errors of a mutation's result share an interface, so that they cost one selection and not one each. */
function unionParts(schema: GraphQLSchema, members: readonly GraphQLObjectType[], place: Place): string[] {
  const isError = (type: GraphQLObjectType): boolean => type.getInterfaces().some(({ name }) => name === 'Error');
  const error = members.find(isError)?.getInterfaces()[0];
  const taken = new Map<string, string>();
  const own = (type: Composite, except: ReadonlySet<string>): string => {
    const fields = Object.values(type.getFields()).filter(({ name, type: output }) => {
      const before = taken.get(name);
      // Two members whose fields of one name differ in type cannot be selected side by side.
      if (before === undefined) taken.set(name, String(getNullableType(output)));
      return !except.has(name) && (before === undefined || before === String(getNullableType(output)));
    });
    const parts = fields.flatMap((field) => fieldPart(schema, field, { ...place, path: [...place.path, type.name] }));
    return parts.length > 0 ? `... on ${type.name} { ${parts.join(' ')} }` : '';
  };
  const shared = new Set(Object.keys(error?.getFields() ?? {}));
  return [
    '__typename',
    ...(error ? [own(error, new Set())] : []),
    ...members.map((type) => own(type, isError(type) ? shared : new Set())),
  ].filter((part) => part !== '');
}

function compositeParts(schema: GraphQLSchema, type: Composite, place: Place): string[] {
  const path = [...place.path, type.name];
  const nested = path.length > 1 && !isEdgeOf(path);
  const named = nested && isNode(type);
  const fields = Object.values(type.getFields()).filter(({ name }) => !named || namingFields.has(name));
  const parts = fields.flatMap((field) => fieldPart(schema, field, { ...place, path }));
  return isInterfaceType(type) ? ['__typename', ...parts] : parts;
}

function fieldPart(schema: GraphQLSchema, field: AnyField, place: Place): string[] {
  if (field.args.some(isRequiredArgument) || !place.mayRead(field)) return [];
  const type = getNamedType(field.type);
  if (isLeafType(type)) return [field.name];
  const page = place.path.some((name) => name.endsWith('Connection'));
  const levels = place.path.length - (page ? 2 : 0);
  if (place.path.includes(type.name) || levels > levelsMax) return [];
  // Inside a list of things a list of their own, and what works hard for its answer: asked for by a request of its own.
  if (isConnection(type)) return [];
  const within = page && place.path.length > 1;
  if (within && (isListType(getNullableType(field.type)) || weightOf(field) > 1)) return [];
  const selection = selectionOf(schema, field.type, place);
  return selection === '' ? [] : [`${field.name}${selection}`];
}

function isConnection(type: GraphQLNamedType): boolean {
  return isObjectType(type) && 'edges' in type.getFields() && 'pageInfo' in type.getFields();
}

function isNode(type: Composite): boolean {
  return type.getInterfaces().some(({ name }) => name === 'Node');
}

/** A page's edge and its node are the page's own level. */
function isEdgeOf(path: readonly string[]): boolean {
  return path.length <= 3 && path[0] !== undefined && path[0].endsWith('Connection');
}
