import type { FastifyError, FastifyInstance, FastifyRequest } from 'fastify';

import type { RequestContext } from '../auth/request-context.ts';
import type { DatasetPackage } from '../domain/package-dataset.ts';
import { FluxError } from '../errors.ts';
import { AtOnce } from './at-once.ts';
import { admitBearers, type BearerRouteOptions } from './bearer-routes.ts';
import type { LiveHooks } from './live-subscriptions.ts';
import type { OperationGate } from './operation-gate.ts';
import { sendProblem } from './rest/problem.ts';

/** What packs datasets; main.ts composes it. */
export interface PackageService<Context> {
  open(context: Context, dataset: string): Promise<DatasetPackage>;
}

export interface PackageOptions<Context extends RequestContext> extends BearerRouteOptions<Context> {
  service: PackageService<Context>;
  gate: OperationGate;
  live: LiveHooks;
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
    const { principalOf, contextOf, failed } = admitBearers(scope, options, {
      needs: 'data:read',
      refusal: 'A package needs the scope data:read, which your role does not have.',
    });
    const atOnce = new AtOnce(
      atOnceMax,
      `The agency downloads ${String(atOnceMax)} packages at once already. Wait for one to end.`,
    );
    const running = new Set<() => void>();
    /** Their refusals are the use case's to record. */
    const handedOn = new WeakSet<FastifyRequest>();
    // A server that stops waits for its answers, and this one may take long.
    scope.addHook('preClose', async () => running.forEach((end) => end()));
    scope.setErrorHandler<FastifyError | FluxError>((error, request, reply) => {
      const { failure, said } = failed(error, request, reply, handedOn.has(request));
      return sendProblem(reply, failure, said);
    });
    scope.get<{ Params: { name: string } }>(
      '/v1/datasets/:name/package',
      { exposeHeadRoute: false },
      async (request, reply) => {
        const principal = principalOf(request);
        const { agency } = principal;
        const gone = new AbortController();
        const end = (): void => gone.abort();
        reply.raw.once('close', end);
        const leave = atOnce.enter(agency);
        const unwatch = options.live.watch(principal, end);
        running.add(end);
        const over = (): void => {
          leave();
          unwatch();
          running.delete(end);
        };
        try {
          const context = contextOf(request, gone.signal);
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
