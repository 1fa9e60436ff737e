import type { FastifyInstance } from 'fastify';

import type { Logger } from '../telemetry/logger.ts';
import { metrics } from '../telemetry/metrics.ts';
import { requestIds } from './request-ids.ts';

const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

/** Counts, times and logs every answered request by its route, never by the path that the caller wrote. */
export function observeRequests(server: FastifyInstance, logger: Pick<Logger, 'debug'>): void {
  server.addHook('onResponse', (request, reply, done) => {
    const method = methods.has(request.method) ? request.method : 'other';
    const route = request.is404 ? 'none' : (request.routeOptions.url ?? 'none');
    metrics.requests.inc({ method, route, status: String(reply.statusCode) });
    const stream = String(reply.getHeader('content-type') ?? '').startsWith('text/event-stream');
    const ms = Math.round(reply.elapsedTime);
    logger.debug(
      { ...requestIds(request.headers), method, route, status: reply.statusCode, ms },
      'a request was answered',
    );
    if (!stream) metrics.requestSeconds.observe({ method, route }, reply.elapsedTime / 1_000);
    done();
  });
}
