import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

import { FluxError } from '../errors.ts';
import { type HealthCheck, readiness } from './health-checks.ts';
import { registry } from './metrics.ts';

export interface MetricsServer {
  /** `http://127.0.0.1:9464/metrics` */
  url: string;
  stop(): Promise<void>;
}

export interface MetricsOptions {
  host: string;
  port: number;
  /** Somebody asked for this very port. Otherwise a taken one is replaced by a free one: see `url`. */
  fixed: boolean;
  /** What /health/ready asks. */
  checks?: Readonly<Record<string, HealthCheck>>;
}

/**
 * Serves `/metrics`, and `/health/live` and `/health/ready` for processes that have no other port. On a port of its own, because it asks nobody
 * for a token.
 *
 * @throws PORT_IN_USE the port was asked for and is taken
 */
export async function startMetricsServer({ host, port, fixed, checks = {} }: MetricsOptions): Promise<MetricsServer> {
  const server = createServer((request, response) => {
    const path = request.url?.split('?')[0];
    if (path === '/health/live')
      return void response.setHeader('content-type', 'application/json').end('{"status":"ok"}');
    if (path === '/health/ready') {
      return void readiness(checks, () => undefined).then(({ code, body }) =>
        response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body)),
      );
    }
    if (path !== '/metrics') return void response.writeHead(404).end();
    registry.metrics().then(
      (text) => response.setHeader('content-type', registry.contentType).end(text),
      () => response.writeHead(500).end(),
    );
  });
  const listen = (at: number): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port: at }, () => {
        server.off('error', reject);
        resolve();
      });
    });
  await listen(port).catch((cause: NodeJS.ErrnoException) => {
    server.removeAllListeners('error');
    if (cause.code === 'EADDRINUSE' && !fixed) return listen(0);
    throw new FluxError(
      cause.code === 'EADDRINUSE' ? 'PORT_IN_USE' : 'CONFIG_INVALID',
      `Cannot serve metrics on ${host}:${String(port)} (${cause.code ?? cause.message}). Set FLUX_METRICS_PORT to a free port, or 0.`,
      { cause },
    );
  });
  const found = (server.address() as AddressInfo).port;
  const name = host.includes(':') ? `[${host}]` : host;
  return {
    url: `http://${name}:${String(found)}/metrics`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
