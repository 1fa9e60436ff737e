import type { FastifyError, FastifyInstance, FastifyRequest } from 'fastify';

import { type Authenticator, bearerToken } from '../auth/authenticator.ts';
import type { Principal } from '../auth/principal.ts';
import { createRequestContext, type RequestContext } from '../auth/request-context.ts';
import type { DatasetPackage } from '../domain/package-dataset.ts';
import { FluxError } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import { formatError, logFailure } from './error-format.ts';
import { fromHttp } from './http-failure.ts';
import type { LiveHooks } from './live-subscriptions.ts';
import type { OperationGate } from './operation-gate.ts';
import { type OnRefused, tellRefusal } from './refusals.ts';
import { requestIds, trustHeaders, userAgentOf } from './request-ids.ts';
import { sendProblem } from './rest/problem.ts';

/** What packs datasets; main.ts composes it. */
export interface PackageService<Context> {
  open(context: Context, dataset: string): Promise<DatasetPackage>;
}

export interface PackageOptions<Context extends RequestContext> {
  service: PackageService<Context>;
  gate: OperationGate;
  authenticator: Authenticator;
  seal: { keyId: string; key: Buffer };
  createContext(request: RequestContext): Context;
  live: LiveHooks;
  logger: Logger;
  production: boolean;
  onRefused?: OnRefused;
}

/** Of one agency in one process: each holds a session of the database while it lasts. */
const atOnceMax = 2;

/**
 * `GET /v1/datasets/{name}/package` sends a dataset as a Frictionless Data Package (docs/packages.md), as it is made. Needs the scope
 * data:read. What breaks off ends without the last chunk (RFC 9112, 8), so that no client takes it for whole: it does so when the token
 * is revoked and when the server stops.
 */
export function servePackages<Context extends RequestContext>(
  server: FastifyInstance,
  options: PackageOptions<Context>,
): void {
  void server.register(async (scope) => {
    const principals = new WeakMap<FastifyRequest, Principal>();
    const atOnce = new Map<string, number>();
    const running = new Set<() => void>();
    /** Their refusals are the use case's to record. */
    const handedOn = new WeakSet<FastifyRequest>();
    // A server that stops waits for its answers, and this one may take long.
    scope.addHook('preClose', async () => running.forEach((end) => end()));
    scope.addHook('onRequest', async (request) => {
      const principal = await options.authenticator.authenticate(bearerToken(request.headers.authorization));
      principals.set(request, principal);
      trustHeaders(request.headers);
      if (!principal.scopes.has('data:read')) {
        throw new FluxError('FORBIDDEN', 'A package needs the scope data:read, which your role does not have.');
      }
    });
    scope.setErrorHandler<FastifyError | FluxError>((error, request, reply) => {
      const { requestId, traceId } = requestIds(request.headers);
      const failure = fromHttp(error);
      logFailure(options.logger, failure, { requestId, traceId });
      if (!handedOn.has(request)) tellRefusal(options.onRefused, request, principals.get(request), failure);
      if (failure.code === 'UNAUTHENTICATED') void reply.header('www-authenticate', 'Bearer realm="flux"');
      return sendProblem(reply, failure, formatError(failure, { hideSuggestions: options.production, traceId }));
    });
    const contextOf = (request: FastifyRequest, principal: Principal, signal: AbortSignal): Context =>
      options.createContext(
        createRequestContext({
          principal,
          seal: options.seal,
          ...requestIds(request.headers),
          ip: request.ip,
          userAgent: userAgentOf(request.headers),
          signal,
        }),
      );
    scope.get<{ Params: { name: string } }>(
      '/v1/datasets/:name/package',
      { exposeHeadRoute: false },
      async (request, reply) => {
        const principal = principals.get(request) as Principal;
        const { agency } = principal;
        const gone = new AbortController();
        const end = (): void => gone.abort();
        reply.raw.once('close', end);
        const leave = enter(atOnce, agency);
        const unwatch = options.live.watch(principal, end);
        running.add(end);
        const over = (): void => {
          leave();
          unwatch();
          running.delete(end);
        };
        try {
          const context = contextOf(request, principal, gone.signal);
          const open = (): Promise<DatasetPackage> => {
            handedOn.add(request);
            return options.service.open(context, request.params.name);
          };
          const { content, fileName } = await inTurn(options.gate, agency, open, gone);
          content.once('close', over);
          gone.signal.addEventListener('abort', () => content.destroy(), { once: true });
          return await reply
            .type('application/zip')
            .header('content-disposition', `attachment; filename="${fileName}"`)
            .send(content);
        } catch (cause) {
          over();
          throw cause;
        }
      },
    );
  });
}

/** In the agency's turn, like any operation; what was opened too late is closed again. @throws LIMIT_EXCEEDED */
function inTurn(
  gate: OperationGate,
  agency: string,
  open: () => Promise<DatasetPackage>,
  gone: AbortController,
): Promise<DatasetPackage> {
  const work = async (): Promise<DatasetPackage> => {
    const opened = await open();
    if (!gone.signal.aborted) return opened;
    opened.content.destroy();
    throw new FluxError('LIMIT_EXCEEDED', 'Nobody waits for the package any more.');
  };
  return gate.run(agency, work, () => gone.abort());
}

/** @returns what leaves again, once @throws LIMIT_EXCEEDED */
function enter(atOnce: Map<string, number>, agency: string): () => void {
  const count = atOnce.get(agency) ?? 0;
  if (count >= atOnceMax) {
    throw new FluxError(
      'LIMIT_EXCEEDED',
      `The agency downloads ${String(atOnceMax)} packages at once already. Wait for one to end.`,
    );
  }
  atOnce.set(agency, count + 1);
  let isIn = true;
  return () => {
    if (!isIn) return;
    isIn = false;
    const left = (atOnce.get(agency) ?? 1) - 1;
    if (left > 0) atOnce.set(agency, left);
    else atOnce.delete(agency);
  };
}
