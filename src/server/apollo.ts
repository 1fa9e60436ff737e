import { ApolloServer, type ApolloServerPlugin, type GraphQLRequestListener } from '@apollo/server';
import { ApolloServerPluginCacheControlDisabled } from '@apollo/server/plugin/disabled';
import { GraphQLError, type GraphQLSchema, OperationTypeNode } from 'graphql';

import type { RequestContext } from '../auth/request-context.ts';
import { FluxError } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import { failureOf, formatError, logFailure, statusOf } from './error-format.ts';
import { responseType } from './media-type.ts';
import type { OnRefused } from './refusals.ts';
import { checkVariables, executionOptions, parseOptions, validationOptions, validationRules } from './operations.ts';

export interface ApolloOptions {
  schema: GraphQLSchema;
  logger: Logger;
  production: boolean;
  onRefused?: OnRefused;
}

/** Apollo for the HTTP transport. What is refused, and how it is worded, is decided in operations.ts and error-format.ts. */
export function createApollo<Context extends RequestContext>(options: ApolloOptions): ApolloServer<Context> {
  const { schema, logger, production } = options;
  return new ApolloServer<Context>({
    schema,
    introspection: !production,
    validationRules: validationRules({ introspection: !production }),
    parseOptions,
    validationOptions,
    executionOptions,
    // A browser sends none of these to another site without asking first (CORS preflight), which is never granted.
    csrfPrevention: { requestHeaders: ['authorization', 'apollo-require-preflight'] },
    persistedQueries: false,
    allowBatchedHttpRequests: false,
    includeStacktraceInErrorResponses: false,
    stopOnTerminationSignals: false,
    formatError: (_formatted, error) => formatError(error, { hideSuggestions: production }),
    // Apollo wraps every resolver for cache hints; here every answer is no-store (security-headers.ts).
    plugins: [ApolloServerPluginCacheControlDisabled(), operationPlugin<Context>(options)],
    logger: apolloLogger(logger),
  });
}

function operationPlugin<Context extends RequestContext>({
  schema,
  logger,
  production,
  onRefused,
}: ApolloOptions): ApolloServerPlugin<Context> {
  const listener: GraphQLRequestListener<Context> = {
    didResolveOperation({ document, operation, request }) {
      if (operation?.operation === OperationTypeNode.SUBSCRIPTION) throw subscriptionOverHttp();
      const [problem] = operation ? checkVariables(schema, document, operation, request.variables ?? {}) : [];
      return problem ? Promise.reject(problem) : Promise.resolve();
    },
    async didEncounterErrors({ errors, contextValue }) {
      const { requestId, traceId, principal, signal } = contextValue;
      // An error without a path came before any resolver.
      const [first] = errors;
      if (first && errors.every(({ path }) => path === undefined)) onRefused?.(contextValue, failureOf(first));
      // After its end (too late, or the client has gone) an operation's answer is read by nobody; that it was too late is counted at the gate.
      const told = !signal.aborted;
      for (const error of errors) logFailure(logger, error, { requestId, traceId, agency: principal.agency }, { told });
    },
    async willSendResponse({ errors, request, response, contextValue: { traceId } }) {
      const type = responseType(request.http?.headers.get('accept'));
      if (type) response.http.headers.set('content-type', `${type}; charset=utf-8`);
      if (response.body.kind !== 'single' || !errors?.length) return;
      const result = response.body.singleResult;
      result.errors = errors.map((error) => formatError(error, { hideSuggestions: production, traceId }));
      if (result.data !== undefined && result.data !== null) return;
      // A document that never was one is the request's fault whatever it accepts; the rest is GraphQL's own answer there.
      if (type === 'application/graphql-response+json') response.http.status = statusOf(failureOf(errors[0]));
      else if (request.query) response.http.status = 200;
    },
  };
  return { requestDidStart: () => Promise.resolve(listener) };
}

function subscriptionOverHttp(): GraphQLError {
  const message =
    'Subscriptions run at the same address over WebSocket (subprotocol graphql-transport-ws) or as an event stream (POST with Accept: text/event-stream).';
  return new GraphQLError(message, { originalError: new FluxError('INVALID_INPUT', message) });
}

function apolloLogger(logger: Logger) {
  const say = (write: Logger['info']) => (message?: unknown) => write({}, `apollo: ${String(message)}`);
  return { debug: say(logger.debug), info: say(logger.info), warn: say(logger.warn), error: say(logger.error) };
}
