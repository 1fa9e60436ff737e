/**
 * The limits of a GraphQL operation, one set for every transport: HTTP gives Apollo these rules and options, the WebSocket
 * calls `prepareOperation` with the same. (Apollo's plugins and options do not run for WebSocket operations: GHSA-w42g-7vfc-xf37.)
 */
import {
  type DocumentNode,
  type ExecutionArgs,
  getOperationAST,
  GraphQLError,
  type GraphQLSchema,
  NoSchemaIntrospectionCustomRule,
  type OperationDefinitionNode,
  parse,
  specifiedRules,
  validate,
  type ValidationRule,
} from 'graphql';

import { FluxError } from '../errors.ts';
import { createDocumentCache } from './document-cache.ts';
import { measureDocument, operationLimits } from './document-size.ts';
import { costMax, operationCost } from './operation-cost.ts';
import { variableProblems } from './variable-limits.ts';

export const parseOptions = { maxTokens: operationLimits.tokens };
export const validationOptions = { maxErrors: 10 };
export const executionOptions = { maxCoercionErrors: 10 };

const validDocuments = createDocumentCache();

/** Reports what a document has too much of. Runs beside graphql's own rules; 1,000 tokens bound what those can cost. */
const sizeRule: ValidationRule = (context) => ({
  Document: {
    enter(document) {
      for (const problem of measureDocument(document)) context.reportError(limitExceeded(problem));
    },
  },
});

/** What comes on top of graphql's own rules. @param introspection whether a client may read the schema */
export function validationRules({ introspection }: { introspection: boolean }): ValidationRule[] {
  return introspection ? [sizeRule] : [sizeRule, NoSchemaIntrospectionCustomRule];
}

/** Checks what needs the variables. @returns no errors when the operation may run */
export function checkVariables(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  variables: Readonly<Record<string, unknown>>,
): GraphQLError[] {
  const problems = variableProblems(document, operation, variables);
  if (problems.length > 0) return problems.map(limitExceeded);
  const cost = operationCost({ schema, document, operation, variables });
  if (cost <= costMax) return [];
  return [
    limitExceeded(
      `The operation asks for up to ${String(cost)} objects; at most ${String(costMax)} are allowed. Ask for smaller pages (\`first\`), above all inside of other pages.`,
    ),
  ];
}

export interface OperationRequest {
  query: string;
  operationName?: string | null | undefined;
  variables?: Record<string, unknown> | null | undefined;
}

/**
 * Parses, validates and measures an operation that did not come through Apollo.
 *
 * @returns what graphql executes, or the errors for the client
 */
export function prepareOperation(
  schema: GraphQLSchema,
  request: OperationRequest,
  options: { introspection: boolean },
): Omit<ExecutionArgs, 'contextValue'> | readonly GraphQLError[] {
  const document =
    validDocuments.get(schema, options.introspection, request.query) ?? readDocument(schema, request.query, options);
  if (!('kind' in document)) return document;
  const operation = getOperationAST(document, request.operationName);
  if (!operation) {
    return [new GraphQLError('The document has several operations or none of that name; say which in operationName.')];
  }
  const variables = request.variables ?? {};
  const tooMuch = checkVariables(schema, document, operation, variables);
  if (tooMuch.length > 0) return tooMuch;
  return {
    schema,
    document,
    operationName: request.operationName,
    variableValues: variables,
    options: executionOptions,
  };
}

/** @returns a valid document, kept for the next who sends the same text, or what is wrong with it */
function readDocument(
  schema: GraphQLSchema,
  text: string,
  options: { introspection: boolean },
): DocumentNode | readonly GraphQLError[] {
  let document: DocumentNode;
  try {
    document = parse(text, parseOptions);
  } catch (cause) {
    return [cause instanceof GraphQLError ? cause : new GraphQLError('The document cannot be read.')];
  }
  const invalid = validate(schema, document, [...specifiedRules, ...validationRules(options)], validationOptions);
  if (invalid.length > 0) return invalid;
  validDocuments.set(schema, options.introspection, text, document);
  return document;
}

function limitExceeded(problem: string): GraphQLError {
  return new GraphQLError(problem, { originalError: new FluxError('LIMIT_EXCEEDED', problem) });
}
