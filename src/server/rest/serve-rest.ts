import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { execute, type ExecutionResult, type GraphQLSchema } from 'graphql';

import { type Authenticator, bearerToken } from '../../auth/authenticator.ts';
import type { Principal } from '../../auth/principal.ts';
import { createRequestContext, type RequestContext } from '../../auth/request-context.ts';
import { type ErrorCode, FluxError } from '../../errors.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { failureOf, formatError, logFailure, reportErrors } from '../error-format.ts';
import { fromHttp } from '../http-failure.ts';
import type { OperationGate } from '../operation-gate.ts';
import { prepareOperation } from '../operations.ts';
import { type OnRefused, tellRefusal } from '../refusals.ts';
import { requestIds, trustHeaders, userAgentOf } from '../request-ids.ts';
import { serveDocs } from './docs-page.ts';
import { openApiDocument, restPath } from './openapi.ts';
import { type problemOf, sendProblem } from './problem.ts';
import { readableWith } from './readable.ts';
import { type RestRoute, restRoutes, variablesOf } from './routes.ts';

export interface RestOptions<Context extends RequestContext> {
  schema: GraphQLSchema;
  gate: OperationGate;
  authenticator: Authenticator;
  seal: { keyId: string; key: Buffer };
  createContext(request: RequestContext): Context;
  logger: Logger;
  production: boolean;
  onRefused?: OnRefused;
}

/**
 * The operations of the schema as resources under /v1/rest, their OpenAPI document, and pages about it at /v1/docs. Each request is one
 * operation and goes the way of all of them: token, limits, gate, sealed context, resolvers, audit, masked errors.
 */
export function serveRest<Context extends RequestContext>(
  server: FastifyInstance,
  options: RestOptions<Context>,
): void {
  const document = openApiDocument(options.schema);
  void server.register(async (scope) => {
    // Strangers learn as little of the schema here as by introspection.
    if (options.production) requireToken(scope, options);
    scope.get(`${restPath}/openapi.json`, (_request, reply) => reply.send(document));
    serveDocs(scope, document);
  });
  void server.register(
    async (scope) => {
      const principals = requireToken(scope, options);
      scope.setNotFoundHandler((request) => {
        const path = request.url.split('?')[0] ?? '';
        throw new FluxError(
          'NOT_FOUND',
          `There is no ${request.method} ${path.slice(0, 200)} here; /v1/docs says what is where.`,
        );
      });
      for (const route of restRoutes(options.schema)) {
        scope.route({
          method: route.method,
          url: route.path.replace(/\{(\w+)\}/, ':$1'),
          handler: (request, reply) => answer(options, route, principals.get(request) as Principal, request, reply),
        });
      }
    },
    { prefix: restPath },
  );
}

/** Takes no request without a good token, and words every refusal as a problem. @returns who asks */
function requireToken<Context extends RequestContext>(
  scope: FastifyInstance,
  { authenticator, logger, onRefused, production }: RestOptions<Context>,
): WeakMap<FastifyRequest, Principal> {
  const principals = new WeakMap<FastifyRequest, Principal>();
  scope.addHook('onRequest', async (request) => {
    principals.set(request, await authenticator.authenticate(bearerToken(request.headers.authorization)));
    trustHeaders(request.headers);
  });
  scope.setErrorHandler<FastifyError | FluxError>((error, request, reply) => {
    const { requestId, traceId } = requestIds(request.headers);
    const failure = fromHttp(error);
    logFailure(logger, failure, { requestId, traceId });
    tellRefusal(onRefused, request, principals.get(request), failure);
    if (failure.code === 'UNAUTHENTICATED') void reply.header('www-authenticate', 'Bearer realm="flux"');
    return sendProblem(reply, failure, formatError(failure, { hideSuggestions: production, traceId }));
  });
  return principals;
}

async function answer<Context extends RequestContext>(
  options: RestOptions<Context>,
  route: RestRoute,
  principal: Principal,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<unknown> {
  const { schema, gate, production, logger } = options;
  const variables = route.kind === 'query' ? queryVariables(route, request) : { input: bodyOf(request) };
  const query = route.document(readableWith(principal.scopes));
  const prepared = prepareOperation(schema, { query, variables }, { introspection: false });
  if (!('document' in prepared)) throw prepared[0] ?? new Error('An operation was refused without a reason.');
  const overtime = new AbortController();
  const ids = requestIds(request.headers);
  void reply.header('x-request-id', ids.requestId);
  const contextValue = options.createContext(
    createRequestContext({
      principal,
      seal: options.seal,
      ...ids,
      ip: request.ip,
      userAgent: userAgentOf(request.headers),
      signal: AbortSignal.any([gone(reply), overtime.signal]),
    }),
  );
  const result = await gate.run(
    principal.agency,
    () => execute({ ...prepared, contextValue }) as Promise<ExecutionResult>,
    () => overtime.abort(),
  );
  const value = result.data?.[route.field.name];
  const [error] = result.errors ?? [];
  if (result.errors && error) {
    const [said] = reportErrors(logger, result.errors, {
      ...ids,
      agency: principal.agency,
      hideSuggestions: production,
    });
    const failure = failureOf(error);
    // What a resolver refused has told the audit log itself.
    if (result.errors.every(({ path }) => path === undefined))
      tellRefusal(options.onRefused, request, principal, failure);
    if (said) return sendProblem(reply, failure, said);
  }
  if (value === null || value === undefined) {
    const failure = new FluxError('NOT_FOUND', `There is no such ${route.field.name} for this caller.`);
    return sendProblem(reply, failure, formatError(failure, { hideSuggestions: production, traceId: ids.traceId }));
  }
  if (isExpectedError(value))
    return sendProblem(reply, new FluxError(value.code, value.message), {
      message: value.message,
      extensions: problemFieldsOf(value),
    });
  return reply.send(value);
}

function queryVariables(route: RestRoute, request: FastifyRequest): Record<string, unknown> {
  return variablesOf(route, {
    ...(request.query as Record<string, string | string[]>),
    ...(request.params as Record<string, string>),
  });
}

/** @throws INVALID_INPUT the body is no object, or the header's key is not the body's */
function bodyOf(request: FastifyRequest): Record<string, unknown> {
  const body = request.body ?? {};
  if (typeof body !== 'object' || Array.isArray(body)) {
    throw new FluxError('INVALID_INPUT', 'A JSON object was expected: the input of the operation.');
  }
  const input = body as Record<string, unknown>;
  const key = request.headers['idempotency-key'];
  if (key === undefined) return input;
  if (typeof key !== 'string' || (typeof input['idempotencyKey'] === 'string' && input['idempotencyKey'] !== key)) {
    throw new FluxError('INVALID_INPUT', 'Idempotency-Key and idempotencyKey differ. Send one of them.');
  }
  return { ...input, idempotencyKey: key };
}

interface ExpectedError {
  code: ErrorCode;
  message: string;
  [field: string]: unknown;
}

/** A member of a mutation's result that says what went wrong. */
function isExpectedError(value: unknown): value is ExpectedError {
  return typeof value === 'object' && value !== null && 'errorId' in value && 'code' in value && '__typename' in value;
}

function problemFieldsOf({ __typename: _typename, message: _message, ...fields }: ExpectedError) {
  return fields as unknown as Parameters<typeof problemOf>[1]['extensions'];
}

/** Aborts when the client goes away before it has its answer. */
function gone(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort();
  });
  return controller.signal;
}
