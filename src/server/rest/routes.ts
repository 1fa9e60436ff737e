import {
  getNamedType,
  getNullableType,
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLInputField,
  type GraphQLInputType,
  type GraphQLSchema,
  isInputObjectType,
  isListType,
  isRequiredArgument,
  isScalarType,
} from 'graphql';

import { FluxError } from '../../errors.ts';
import { rootDocument } from './root-document.ts';

/** A value that a query's address carries, and where the document wants it. */
export interface RestParameter {
  name: string;
  in: 'path' | 'query';
  type: GraphQLInputType;
  description: string | null | undefined;
  /** `[argument]`, or `[argument, field]` of an input object, whose fields are parameters of their own. */
  place: readonly [string] | readonly [string, string];
}

/** One root field of the schema as a resource. */
export interface RestRoute {
  kind: 'query' | 'mutation';
  method: 'GET' | 'POST';
  /** `/run/{id}` */
  path: string;
  field: GraphQLField<unknown, unknown>;
  /** Of a query. A mutation takes its input as the body. */
  parameters: readonly RestParameter[];
  /** The document for a reader, by what the reader may see. */
  document(mayRead: (field: GraphQLField<unknown, unknown>) => boolean): string;
}

/**
 * Every query as `GET /<its-name>` and every mutation as `POST /<its-name>`. A query's first required argument stands in the path; its
 * other arguments are query parameters, and so are the fields of an argument that is an object (`?status=FAILED&pipeline=flights`).
 */
export function restRoutes(schema: GraphQLSchema): RestRoute[] {
  const queries = Object.values(schema.getQueryType()?.getFields() ?? {}).map((field) => queryRoute(schema, field));
  const mutations = Object.values(schema.getMutationType()?.getFields() ?? {}).map((field) =>
    mutationRoute(schema, field),
  );
  return [...queries, ...mutations].sort((a, b) => (a.path < b.path ? -1 : 1));
}

function queryRoute(schema: GraphQLSchema, field: GraphQLField<unknown, unknown>): RestRoute {
  const inPath = field.args.find((arg) => isRequiredArgument(arg) && isScalarType(getNullableType(arg.type)));
  return {
    kind: 'query',
    method: 'GET',
    path: `/${kebab(field.name)}${inPath ? `/{${inPath.name}}` : ''}`,
    field,
    parameters: field.args.flatMap((arg) => parametersOf(arg, arg === inPath ? 'path' : 'query')),
    document: documentOf(schema, 'query', field),
  };
}

function mutationRoute(schema: GraphQLSchema, field: GraphQLField<unknown, unknown>): RestRoute {
  return {
    kind: 'mutation',
    method: 'POST',
    path: `/${kebab(field.name)}`,
    field,
    parameters: [],
    document: documentOf(schema, 'mutation', field),
  };
}

function documentOf(
  schema: GraphQLSchema,
  kind: RestRoute['kind'],
  field: GraphQLField<unknown, unknown>,
): RestRoute['document'] {
  const name = `Rest${field.name.charAt(0).toUpperCase()}${field.name.slice(1)}`;
  return (mayRead) => rootDocument(schema, kind, field, { name, mayRead });
}

function parametersOf(arg: GraphQLArgument, place: 'path' | 'query'): RestParameter[] {
  const type = getNullableType(arg.type);
  if (!isInputObjectType(type)) {
    return [{ name: arg.name, in: place, type: arg.type, description: arg.description, place: [arg.name] }];
  }
  return Object.values(type.getFields()).map((inner: GraphQLInputField) => ({
    name: inner.name,
    in: 'query' as const,
    type: getNullableType(inner.type),
    description: inner.description,
    place: [arg.name, inner.name] as const,
  }));
}

/**
 * A query's variables out of its address.
 *
 * @param given the path's and the query's values, each a text or, when it stands there several times, texts
 * @throws INVALID_INPUT an unknown parameter
 */
export function variablesOf(
  route: RestRoute,
  given: Readonly<Record<string, string | readonly string[] | undefined>>,
): Record<string, unknown> {
  const known = new Map(route.parameters.map((parameter) => [parameter.name, parameter]));
  const variables: Record<string, unknown> = {};
  for (const [name, text] of Object.entries(given)) {
    const parameter = known.get(name);
    if (!parameter) {
      const names = [...known.keys()].join(', ') || 'none';
      throw new FluxError('INVALID_INPUT', `There is no parameter ${name} here; there are: ${names}.`);
    }
    if (text === undefined) continue;
    const value = valueOf(parameter, text);
    const [argument, inner] = parameter.place;
    if (inner === undefined) variables[argument] = value;
    else variables[argument] = { ...(variables[argument] as object | undefined), [inner]: value };
  }
  return variables;
}

/** What does not read as its type stays a text: the schema refuses it in its own words. */
function valueOf({ type, name }: RestParameter, text: string | readonly string[]): unknown {
  const plain = getNullableType(type);
  if (isListType(plain))
    return [text]
      .flat()
      .flatMap((one) => one.split(','))
      .map((one) => scalarOf(plain.ofType, one));
  if (typeof text !== 'string') {
    throw new FluxError('INVALID_INPUT', `${name} stands in the address several times; once was expected.`);
  }
  return scalarOf(plain, text);
}

function scalarOf(type: GraphQLInputType, text: string): unknown {
  const { name } = getNamedType(type);
  if ((name === 'Int' || name === 'Float') && /^-?\d+(\.\d+)?$/.test(text)) return Number(text);
  if (name === 'Boolean' && (text === 'true' || text === 'false')) return text === 'true';
  return text;
}

/** `runEventLog` as `run-event-log`. */
function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
