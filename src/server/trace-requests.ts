import type { FastifyInstance, FastifyRequest } from 'fastify';

import { isOn, openSpan, type OpenSpan, SpanKind, within } from '../telemetry/tracing.ts';
import { callersPlace } from './request-ids.ts';

/**
 * A span for each HTTP request, from its head to its answer's end. It is opened after the token was looked at (routes do that before the body is
 * read), because the caller's own span is its parent only where the token was accepted; a refused request is told as a trace of its own.
 */
export function traceRequests(server: FastifyInstance): void {
  const spans = new WeakMap<FastifyRequest, OpenSpan>();
  const begun = new WeakMap<FastifyRequest, number>();
  const open = (request: FastifyRequest): OpenSpan => {
    const route = request.is404 ? 'none' : (request.routeOptions.url ?? 'none');
    const opened = openSpan(`${request.method} ${route}`, {
      kind: SpanKind.SERVER,
      parent: callersPlace(request.headers),
      startTime: begun.get(request) ?? Date.now(),
      attributes: { 'http.request.method': request.method, 'http.route': route },
    });
    spans.set(request, opened);
    return opened;
  };
  server.addHook('onRequest', (request, _reply, done) => {
    if (isOn()) begun.set(request, Date.now());
    done();
  });
  server.addHook('preHandler', (request, _reply, done) => {
    if (!begun.has(request)) return done();
    within(open(request), done);
  });
  server.addHook('onResponse', (request, reply, done) => {
    if (begun.has(request)) {
      const { span } = spans.get(request) ?? open(request);
      span.setAttribute('http.response.status_code', reply.statusCode);
      span.end();
    }
    done();
  });
}
