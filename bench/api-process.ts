/**
 * The API in a process of its own, for benches: `flux` is ours, `plain` the same schema behind graphql-ws' own server, which executes
 * once per subscriber. Both read the run's live end once and listen to the same hints. Told its work and asked for its memory by IPC.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

import { useServer } from 'graphql-ws/use/ws';
import { WebSocketServer } from 'ws';

import { createContext } from '../resolvers/context.ts';
import { schema } from '../schema/schema.ts';
import type { Principal } from '../src/auth/principal.ts';
import { createRequestContext } from '../src/auth/request-context.ts';
import { type Role, scopesOf } from '../src/auth/roles.ts';
import { sealKey } from '../src/db/migrate.ts';
import { createPool } from '../src/db/pool.ts';
import { cursorKeyOf } from '../src/events/cursor.ts';
import { startHints } from '../src/events/listen.ts';
import { startServer } from '../src/server/start-server.ts';
import { createLogger } from '../src/telemetry/logger.ts';
import { rememberActivity } from '../test/support/api.ts';
import { benchAgency, benchContextKey } from './scratch-database.ts';

const [kind = 'flux', databaseUrl = ''] = process.argv.slice(2);
const logger = createLogger({ service: 'bench', level: 'fatal' });
const pool = createPool({ url: databaseUrl, max: 10, applicationName: 'flux bench api', pipeline: true });
const hints = startHints({ url: databaseUrl, logger });
const api = { pool, cursorKey: cursorKeyOf(benchContextKey), hints, logger, activity: rememberActivity() };
const seal = sealKey(benchContextKey);

/** Here a token is the subject's name: what a token costs is not what is measured. */
function principalOf(subject: string): Principal {
  return {
    subject,
    agency: benchAgency,
    role: 'operator' satisfies Role,
    scopes: scopesOf('operator'),
    clearance: 0,
    tokenId: subject,
    expiresAt: new Date(Date.now() + 3_600_000),
    issuer: 'bench',
    issuedAt: new Date(),
  };
}

async function serveFlux(): Promise<string> {
  const unlimited = { runningMax: 1e6, waitingMax: 1e6, ratePerSecond: 1e6, burst: 1e6, executionMs: 60_000 };
  const { url } = await startServer(
    { environment: 'production', host: '127.0.0.1', port: 0, gateLimits: unlimited },
    {
      schema,
      authenticator: { authenticate: (token) => Promise.resolve(principalOf(token)) },
      seal,
      createContext: (request) => createContext(api, request),
      readiness: {},
      logger,
    },
  );
  return url;
}

async function servePlain(): Promise<string> {
  const server = createServer();
  const sockets = new WebSocketServer({ server, path: '/v1/graphql' });
  useServer(
    {
      schema,
      context: ({ connectionParams }) =>
        createContext(
          api,
          createRequestContext({
            principal: principalOf(String(connectionParams?.['authorization']).slice('Bearer '.length)),
            seal,
            requestId: 'bench',
            traceId: '0'.repeat(32),
            ip: '127.0.0.1',
            userAgent: null,
            signal: new AbortController().signal,
          }),
        ),
    },
    sockets,
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
}

const url = kind === 'plain' ? await servePlain() : await serveFlux();
await hints.listening();
process.on('message', (message) => {
  if (message === 'memory') {
    globalThis.gc?.();
    process.send?.({ rss: process.memoryUsage().rss, cpu: process.cpuUsage() });
  }
});
process.on('disconnect', () => process.exit(0));
process.send?.({ url });
