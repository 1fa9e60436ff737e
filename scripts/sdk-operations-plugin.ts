/**
 * A plugin of graphql-codegen: one function per operation over the documents that client-preset writes, and `bindOperations`, which
 * makes them one object's methods. Called with what the operation needs (`startRun({ pipeline })`: an only `$input` is the argument
 * itself), it answers what the operation's only root field is.
 */
import { type DocumentNode, Kind, type OperationDefinitionNode, OperationTypeNode, type GraphQLSchema } from 'graphql';

interface Source {
  document?: DocumentNode;
}

const verbs = {
  [OperationTypeNode.QUERY]: 'query',
  [OperationTypeNode.MUTATION]: 'mutate',
  [OperationTypeNode.SUBSCRIPTION]: 'subscribe',
} as const;

export function plugin(schema: GraphQLSchema, sources: readonly Source[]): string {
  const operations = sources
    .flatMap(({ document }) => document?.definitions ?? [])
    .filter((definition) => definition.kind === Kind.OPERATION_DEFINITION)
    .sort((a, b) => nameOf(a).localeCompare(nameOf(b), 'en'));
  const written = operations.map((operation) => write(schema, operation));
  const imports = written.flatMap(({ imported }) => imported).sort();
  return [
    `import type { CallOptions, Operations, SubscribeOptions } from '../operations.ts';`,
    `import {\n${imports.map((name) => `  ${name},`).join('\n')}\n} from './graphql.ts';`,
    ...written.map(({ text }) => text),
    '/** Every operation as a method. */',
    'export function bindOperations(client: Operations) {',
    '  return {',
    ...written.map(({ method }) => method),
    '  };',
    '}',
    '',
    '/** @see bindOperations */',
    'export type BoundOperations = ReturnType<typeof bindOperations>;',
    '',
  ].join('\n');
}

function write(schema: GraphQLSchema, operation: OperationDefinitionNode) {
  const name = nameOf(operation);
  const fn = `${name.charAt(0).toLowerCase()}${name.slice(1)}`;
  const kind = operation.operation;
  const suffix = { query: 'Query', mutation: 'Mutation', subscription: 'Subscription' }[kind];
  const variablesType = `${name}${suffix}Variables`;
  const [root, ...others] = operation.selectionSet.selections;
  if (root?.kind !== Kind.FIELD || others.length > 0) throw new Error(`${name} has more than one root field.`);
  const declared = operation.variableDefinitions ?? [];
  const required = declared.some(({ type, defaultValue }) => type.kind === Kind.NON_NULL_TYPE && !defaultValue);
  const onlyInput = declared.length === 1 && declared[0]?.variable.name.value === 'input' && required;
  const argument = onlyInput
    ? `input: ${variablesType}['input']`
    : required
      ? `variables: ${variablesType}`
      : `variables: ${variablesType} = {}`;
  // A bundle holds every default: the method leaves its own to the function.
  const handedOn = argument.replace(/^variables: (.*) = \{\}$/, 'variables?: $1');
  const passed = onlyInput ? '{ input }' : 'variables';
  const options = kind === OperationTypeNode.SUBSCRIPTION ? 'SubscribeOptions' : 'CallOptions';
  const rootName = root.alias?.value ?? root.name.value;
  const described = operation.description?.value ?? descriptionOf(schema, operation, root.name.value);
  const comment = (indent: string): string => `${indent}/** ${described.replaceAll('*/', '').replace(/\s+/g, ' ')} */`;
  const call = `client.${verbs[kind]}(${name}Document, ${passed}, '${rootName}', options)`;
  return {
    imported: [`${name}Document`, `type ${variablesType}`],
    text: `\n${comment('')}\nexport function ${fn}(client: Operations, ${argument}, options?: ${options}) {\n  return ${call};\n}\n`,
    method: `${comment('    ')}\n    ${fn}: (${handedOn}, options?: ${options}) => ${fn}(client, ${onlyInput ? 'input' : 'variables'}, options),`,
  };
}

function descriptionOf(schema: GraphQLSchema, { operation }: OperationDefinitionNode, field: string): string {
  return schema.getRootType(operation)?.getFields()[field]?.description ?? field;
}

function nameOf({ name }: OperationDefinitionNode): string {
  if (!name) throw new Error('Every operation of the SDK needs a name.');
  return name.value;
}
