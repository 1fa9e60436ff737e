import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

import { type Authenticator, bearerToken } from '../auth/authenticator.ts';
import type { Principal } from '../auth/principal.ts';
import { createRequestContext, type RequestContext } from '../auth/request-context.ts';
import type { Scope } from '../auth/roles.ts';
import { FluxError } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import { formatError, logFailure } from './error-format.ts';
import { fromHttp } from './http-failure.ts';
import { type OnRefused, tellRefusal } from './refusals.ts';
import { requestIds, trustHeaders, userAgentOf } from './request-ids.ts';

/** What routes need that carry files beside the schema's operations. */
export interface BearerRouteOptions<Context extends RequestContext> {
  authenticator: Authenticator;
  seal: { keyId: string; key: Buffer };
  createContext(request: RequestContext): Context;
  logger: Logger;
  production: boolean;
  onRefused?: OnRefused;
}

export interface BearerRoutes<Context> {
  /** Whose token the request brought; of a request that got as far as its handler. */
  principalOf(request: FastifyRequest): Principal;
  contextOf(request: FastifyRequest, signal: AbortSignal): Context;
  /**
   * Logs and tells what went wrong, and asks for a token where there was none.
   *
   * @param isToldElsewhere its refusal is the use case's to record
   * @returns what to answer
   */
  failed(
    error: FastifyError | FluxError,
    request: FastifyRequest,
    reply: FastifyReply,
    isToldElsewhere?: boolean,
  ): { failure: FluxError; said: ReturnType<typeof formatError> };
}

/** Lets requests in to a scope's routes whose token holds one of Flux' scopes. @throws UNAUTHENTICATED, FORBIDDEN saying `refusal` */
export function admitBearers<Context extends RequestContext>(
  scope: FastifyInstance,
  options: BearerRouteOptions<Context>,
  { needs, refusal }: { needs: Scope; refusal: string },
): BearerRoutes<Context> {
  const principals = new WeakMap<FastifyRequest, Principal>();
  const principalOf = (request: FastifyRequest): Principal => principals.get(request) as Principal;
  scope.addHook('onRequest', async (request) => {
    const principal = await options.authenticator.authenticate(bearerToken(request.headers.authorization));
    principals.set(request, principal);
    trustHeaders(request.headers);
    if (!principal.scopes.has(needs)) throw new FluxError('FORBIDDEN', refusal);
  });
  return {
    principalOf,
    contextOf: (request, signal) =>
      options.createContext(
        createRequestContext({
          principal: principalOf(request),
          seal: options.seal,
          ...requestIds(request.headers),
          ip: request.ip,
          userAgent: userAgentOf(request.headers),
          signal,
        }),
      ),
    failed(error, request, reply, isToldElsewhere = false) {
      const { requestId, traceId } = requestIds(request.headers);
      const failure = fromHttp(error);
      logFailure(options.logger, failure, { requestId, traceId });
      if (!isToldElsewhere) tellRefusal(options.onRefused, request, principals.get(request), failure);
      if (failure.code === 'UNAUTHENTICATED') void reply.header('www-authenticate', 'Bearer realm="flux"');
      return { failure, said: formatError(failure, { hideSuggestions: options.production, traceId }) };
    },
  };
}
