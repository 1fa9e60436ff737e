import type { FastifyInstance } from 'fastify';

import { metrics } from '../telemetry/metrics.ts';

const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

/** Counts and times every answered request by its route, never by the path that the caller wrote. */
export function observeRequests(server: FastifyInstance): void {
  server.addHook('onResponse', (request, reply, done) => {
    const method = methods.has(request.method) ? request.method : 'other';
    const route = request.is404 ? 'none' : (request.routeOptions.url ?? 'none');
    metrics.requests.inc({ method, route, status: String(reply.statusCode) });
    const stream = String(reply.getHeader('content-type') ?? '').startsWith('text/event-stream');
    if (!stream) metrics.requestSeconds.observe({ method, route }, reply.elapsedTime / 1_000);
    done();
  });
}
