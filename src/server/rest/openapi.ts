/** The OpenAPI 3.0 document of the REST routes, out of the same schema and the same documents that answer them. */
import {
  type FieldNode,
  getNamedType,
  getNullableType,
  type GraphQLInputType,
  type GraphQLNamedType,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLSchema,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  isUnionType,
  Kind,
  type OperationDefinitionNode,
  parse,
  type SelectionSetNode,
} from 'graphql';

import { errorCodes } from '../../errors.ts';
import { problemType } from './problem.ts';
import { isScoped } from './readable.ts';
import { type RestRoute, restRoutes } from './routes.ts';
import { packagePaths } from './package-paths.ts';
import { uploadPaths } from './upload-paths.ts';

export const restPath = '/v1/rest';

type Schema = Record<string, unknown>;

/** What the document names once and refers to. */
interface Used {
  /** Enums and inputs. */
  types: Map<string, GraphQLNamedType>;
  /** Objects as the documents ask for them. */
  objects: Map<string, { schema: Schema; text: string }>;
}

export function openApiDocument(schema: GraphQLSchema): Record<string, unknown> {
  const used: Used = { types: new Map(), objects: new Map() };
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of restRoutes(schema)) {
    (paths[route.path] ??= {})[route.method.toLowerCase()] = operationOf(schema, route, used);
  }
  Object.assign(paths, uploadPaths(refused), packagePaths(refused));
  const schemas: Record<string, Schema> = { Problem: problemSchema };
  // An input may name further ones.
  for (const [name, type] of used.types) schemas[name] = namedSchema(type, used);
  for (const [name, { schema: object }] of used.objects) schemas[name] = object;
  return {
    openapi: '3.0.3',
    info: {
      title: 'Flux',
      version: '1',
      description:
        'The operations of the GraphQL API at /v1/graphql, one resource each. What streams live (runEvents, runProgress, runsChanged) is there alone: over WebSocket or as an event stream.',
      license: { name: 'Apache-2.0' },
    },
    servers: [{ url: restPath }],
    security: [{ token: [] }],
    tags: [
      { name: 'queries', description: 'Read; nothing changes.' },
      {
        name: 'mutations',
        description:
          'Ask for a change. The header Idempotency-Key (or `idempotencyKey` in the body) makes a repeated request safe.',
      },
    ],
    paths,
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } },
      responses: problemResponses,
      schemas: Object.fromEntries(Object.entries(schemas).sort(([a], [b]) => (a < b ? -1 : 1))),
    },
  };
}

const problemSchema: Schema = {
  type: 'object',
  description: 'A failure (RFC 9457).',
  required: ['type', 'title', 'status', 'detail', 'code', 'class', 'errorId', 'retryable'],
  properties: {
    type: { type: 'string', description: '`urn:flux:error:` and the code.' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string', description: 'What was expected, what was found, what to do.' },
    code: { type: 'string', description: `One of ${Object.keys(errorCodes).join(', ')}.` },
    class: { type: 'string', enum: [...new Set(Object.values(errorCodes).map(([errorClass]) => errorClass))] },
    errorId: { type: 'string', description: 'Names this occurrence; it is in the log as well.' },
    retryable: { type: 'boolean' },
    traceId: { type: 'string', nullable: true },
    issues: {
      type: 'array',
      items: {
        type: 'object',
        properties: { path: { type: 'string' }, rule: { type: 'string' }, message: { type: 'string' } },
      },
    },
    candidates: { type: 'array', items: { type: 'string' } },
  },
};

const problems: Record<string, [status: string, description: string]> = {
  Invalid: ['400', 'The request is wrong; nothing has changed.'],
  Unauthenticated: ['401', 'There is no token, or it is not valid.'],
  Forbidden: ['403', 'The role lacks the scope, or the request reaches for another agency.'],
  NotFound: ['404', 'There is no such thing for this caller.'],
  Limited: ['429', 'The request passes a limit.'],
  Failed: ['500', 'It fails until something outside of the request changes.'],
  Unavailable: ['503', 'Something does not answer now; try again.'],
};

const problemResponses = Object.fromEntries(
  Object.entries(problems).map(([name, [, description]]) => [
    name,
    { description, content: { [problemType]: { schema: { $ref: '#/components/schemas/Problem' } } } },
  ]),
);

/** What every route may answer instead, by status. */
const refused = Object.fromEntries(
  Object.entries(problems).map(([name, [status]]) => [status, { $ref: `#/components/responses/${name}` }]),
);

function operationOf(schema: GraphQLSchema, route: RestRoute, used: Used): Schema {
  const { field, kind } = route;
  const [definition] = parse(route.document(() => true)).definitions;
  const [root] = (definition as OperationDefinitionNode).selectionSet.selections;
  const answer = outputSchema(schema, successType(field.type), root as FieldNode, used, null);
  const input = kind === 'mutation' ? field.args[0] : undefined;
  const parameters = route.parameters.map((parameter) => ({
    name: parameter.name,
    in: parameter.in,
    required: parameter.in === 'path' || isNonNullType(parameter.type),
    ...(parameter.description ? { description: parameter.description } : {}),
    schema: inputSchema(parameter.type, used),
    ...(isListType(getNullableType(parameter.type)) ? { style: 'form', explode: true } : {}),
  }));
  return {
    operationId: field.name,
    tags: [kind === 'query' ? 'queries' : 'mutations'],
    summary: firstSentence(field.description ?? field.name),
    description: field.description ?? '',
    ...((field.deprecationReason ?? null) === null ? {} : { deprecated: true }),
    parameters: kind === 'mutation' ? [idempotencyHeader] : parameters,
    ...(input
      ? { requestBody: { required: true, content: { 'application/json': { schema: inputSchema(input.type, used) } } } }
      : {}),
    responses: {
      200: { description: 'Done.', content: { 'application/json': { schema: answer } } },
      ...refused,
    },
  };
}

const idempotencyHeader = {
  name: 'Idempotency-Key',
  in: 'header',
  required: false,
  description: 'The same key with the same input gives the first result again for seven days. 1 to 255 characters.',
  schema: { type: 'string', minLength: 1, maxLength: 255 },
};

/** What a mutation answers when it went well; its errors are answers of other statuses. */
function successType(type: GraphQLOutputType): GraphQLOutputType {
  const named = getNamedType(type);
  if (!isUnionType(named)) return type;
  const [only, ...others] = named.getTypes().filter((member) => !isError(member));
  return only && others.length === 0 ? only : type;
}

export function isError(type: GraphQLObjectType): boolean {
  return type.getInterfaces().some(({ name }) => name === 'Error');
}

function outputSchema(
  schema: GraphQLSchema,
  type: GraphQLOutputType,
  node: FieldNode,
  used: Used,
  parent: string | null,
): Schema {
  if (isNonNullType(type)) return outputSchema(schema, type.ofType as GraphQLOutputType, node, used, parent);
  if (isListType(type)) {
    const item = type.ofType;
    return { type: 'array', items: nullable(outputSchema(schema, item, node, used, parent), !isNonNullType(item)) };
  }
  if (isLeafType(type)) return leafSchema(type, used);
  const set = node.selectionSet;
  if (!set) return {};
  if (isObjectType(type)) return objectSchema(schema, type, set, used, parent);
  const members = isUnionType(type)
    ? type.getTypes()
    : isInterfaceType(type)
      ? schema.getImplementations(type).objects
      : [];
  return { oneOf: members.map((member) => objectSchema(schema, member, set, used, parent)) };
}

/** An object as the document asks for it. A field that not every role may read is not there for the others. */
function objectSchema(
  schema: GraphQLSchema,
  type: GraphQLObjectType,
  set: SelectionSetNode,
  used: Used,
  parent: string | null,
): Schema {
  const properties: Record<string, Schema> = {};
  const required: string[] = [];
  for (const node of fieldsFor(type, set)) {
    const name = node.name.value;
    if (name === '__typename') {
      properties[name] = { type: 'string', enum: [type.name] };
      required.push(name);
      continue;
    }
    const field = type.getFields()[name];
    if (!field) continue;
    const inner = nullable(outputSchema(schema, field.type, node, used, type.name), !isNonNullType(field.type));
    properties[name] = withDescription(inner, field.description);
    if (!isScoped(field)) required.push(name);
  }
  return reference(used, type.name, parent, {
    type: 'object',
    title: type.name,
    ...(type.description ? { description: type.description } : {}),
    properties,
    ...(required.length > 0 ? { required } : {}),
  });
}

/** A type of which less is asked inside of another is another schema: `Run`, and `RunInCheckpoint`. */
function reference({ objects }: Used, name: string, parent: string | null, schema: Schema): Schema {
  const text = JSON.stringify(schema);
  const candidates = [name, ...(parent === null ? [] : [`${name}In${parent}`])];
  const free = candidates.find((candidate) => (objects.get(candidate)?.text ?? text) === text);
  if (free === undefined) return schema;
  objects.set(free, { schema, text });
  return { $ref: `#/components/schemas/${free}` };
}

/** The fields that a selection asks of one type, those of its interfaces included. */
function fieldsFor(type: GraphQLObjectType, set: SelectionSetNode): FieldNode[] {
  const names = new Set([type.name, ...type.getInterfaces().map(({ name }) => name)]);
  return set.selections.flatMap((selection) => {
    if (selection.kind === Kind.FIELD) return [selection];
    if (selection.kind !== Kind.INLINE_FRAGMENT) return [];
    return names.has(selection.typeCondition?.name.value ?? type.name) ? fieldsFor(type, selection.selectionSet) : [];
  });
}

function inputSchema(type: GraphQLInputType, used: Used): Schema {
  const plain = getNullableType(type);
  if (isListType(plain)) return { type: 'array', items: inputSchema(plain.ofType, used) };
  return leafSchema(plain as GraphQLNamedType, used);
}

const scalars: Record<string, Schema> = {
  Int: { type: 'integer', format: 'int32' },
  Float: { type: 'number' },
  String: { type: 'string' },
  Boolean: { type: 'boolean' },
  ID: { type: 'string' },
  BigInt: { type: 'string', pattern: '^-?\\d+$', description: 'A whole number of 64 bits.' },
  DateTime: { type: 'string', format: 'date-time' },
  JSON: { description: 'Any JSON.' },
  Scope: { type: 'string' },
};

function leafSchema(type: GraphQLNamedType, used: Used): Schema {
  const scalar = scalars[type.name];
  if (scalar) return scalar;
  if (!isEnumType(type) && !isInputObjectType(type)) return { type: 'string' };
  used.types.set(type.name, type);
  return { $ref: `#/components/schemas/${type.name}` };
}

function namedSchema(type: GraphQLNamedType, used: Used): Schema {
  const description = type.description ? { description: type.description } : {};
  if (isEnumType(type)) return { type: 'string', ...description, enum: type.getValues().map(({ name }) => name) };
  if (!isInputObjectType(type)) throw new TypeError(`expected an enum or an input, found ${type.name}`);
  const fields = Object.values(type.getFields());
  const required = fields.filter((field) => isNonNullType(field.type) && field.defaultValue === undefined);
  return {
    type: 'object',
    ...description,
    additionalProperties: false,
    properties: Object.fromEntries(
      fields.map((field) => {
        const inner = nullable(inputSchema(field.type, used), !isNonNullType(field.type));
        return [field.name, withDescription(inner, field.description)];
      }),
    ),
    ...(required.length > 0 ? { required: required.map(({ name }) => name) } : {}),
  };
}

/** OpenAPI 3.0 reads nothing beside a `$ref`. */
function withDescription(schema: Schema, description: string | null | undefined): Schema {
  if (!description) return schema;
  return '$ref' in schema ? { allOf: [schema], description } : { ...schema, description };
}

function nullable(schema: Schema, isNullable: boolean): Schema {
  if (!isNullable || Object.keys(schema).every((key) => key === 'description')) return schema;
  return '$ref' in schema ? { allOf: [schema], nullable: true } : { ...schema, nullable: true };
}

function firstSentence(text: string): string {
  return text.split(/(?<=\.)\s/)[0] ?? text;
}
