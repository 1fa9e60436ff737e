/**
 * The API in a process of its own, for benches: `flux` is ours, and peers serve the same schema from the same database:
 * `plain` is graphql-ws' own server, which executes once per subscriber; `express` is Apollo on Express as it is usually set up, over
 * an ordinary `pg` pool with a transaction for each batch of a loader; `express-reads` is the same over our pipelined pool and our
 * gathered reads, and `mercurius` Mercurius with its JIT over them. Nothing else of ours is around the peers: no limits, no gate, no
 * request log. All listen to the same hints.
 * Asked by IPC for its memory, and how many spans it would have opened since it was asked for the first time.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import { ApolloServer } from '@apollo/server';
import { expressMiddleware } from '@as-integrations/express5';
import { context, INVALID_SPAN_CONTEXT, trace, type Tracer } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import express from 'express';
import Fastify from 'fastify';
import { isObjectType } from 'graphql';
import { useServer } from 'graphql-ws/use/ws';
import mercurius from 'mercurius';
import { WebSocketServer } from 'ws';

import { type Context, createContext } from '../resolvers/context.ts';
import { createLoaders } from '../resolvers/loaders.ts';
import { schema } from '../schema/schema.ts';
import type { Principal } from '../src/auth/principal.ts';
import { createRequestContext } from '../src/auth/request-context.ts';
import { type Role, scopesOf } from '../src/auth/roles.ts';
import type { TenantRead } from '../src/db/gathered-reads.ts';
import { sealKey } from '../src/db/migrate.ts';
import { createPool } from '../src/db/pool.ts';
import { inTenant } from '../src/db/transaction.ts';
import { cursorKeyOf } from '../src/events/cursor.ts';
import { startHints } from '../src/events/listen.ts';
import { startServer } from '../src/server/start-server.ts';
import { createLogger } from '../src/telemetry/logger.ts';
import { traceWith } from '../src/telemetry/tracing.ts';
import { rememberActivity } from '../test/support/api.ts';
import { benchAgency, benchContextKey } from './scratch-database.ts';

const [kind = 'flux', databaseUrl = ''] = process.argv.slice(2);
const logger = createLogger({ service: 'bench', level: 'fatal' });
const usual = kind === 'express';
const pool = createPool({
  url: databaseUrl,
  max: 10,
  applicationName: 'flux bench api',
  pipeline: !usual,
  connectTimeoutMs: 60_000, // a loaded machine is slow, not broken
});
const hints = startHints({ url: databaseUrl, logger });
const api = { pool, cursorKey: cursorKeyOf(benchContextKey), hints, logger, activity: rememberActivity() };
const seal = sealKey(benchContextKey);

/** Here a token is the subject's name, an administrator's where it begins so: what a token costs is not what is measured. */
function principalOf(subject: string): Principal {
  const role: Role = subject.startsWith('admin') ? 'admin' : 'operator';
  return {
    subject,
    agency: benchAgency,
    role,
    scopes: scopesOf(role),
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

function peerContext(authorization: unknown): Context {
  const request = createRequestContext({
    principal: principalOf(String(authorization).slice('Bearer '.length)),
    seal,
    requestId: 'bench',
    traceId: '0'.repeat(32),
    ip: '127.0.0.1',
    userAgent: null,
    signal: new AbortController().signal,
  });
  const context = createContext(api, request);
  if (!usual) return context;
  const read: TenantRead = (work) => inTenant(pool, request.sealed(), work, request.signal);
  return { ...context, read, loaders: createLoaders(read) };
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
}

async function servePlain(): Promise<string> {
  const server = createServer();
  const sockets = new WebSocketServer({ server, path: '/v1/graphql' });
  useServer({ schema, context: ({ connectionParams }) => peerContext(connectionParams?.['authorization']) }, sockets);
  return listen(server);
}

async function serveExpress(): Promise<string> {
  const apollo = new ApolloServer<Context>({ schema, introspection: false, includeStacktraceInErrorResponses: false });
  await apollo.start();
  const app = express();
  const context = ({ req }: { req: express.Request }): Promise<Context> =>
    Promise.resolve(peerContext(req.headers.authorization));
  app.use('/v1/graphql', express.json(), expressMiddleware(apollo, { context }));
  return listen(createServer(app));
}

async function serveMercurius(): Promise<string> {
  const app = Fastify();
  // graphql-jit calls isTypeOf without the context, where ours notes what is read for the audit log: this peer does not note it.
  for (const type of Object.values(schema.getTypeMap())) if (isObjectType(type)) type.isTypeOf = undefined;
  await app.register(mercurius, {
    schema,
    path: '/v1/graphql',
    jit: 1,
    // Mercurius adds to it, and ours is frozen.
    context: ({ headers }) => ({ ...peerContext(headers.authorization) }),
  });
  return app.listen({ host: '127.0.0.1', port: 0 });
}

const serve = {
  flux: serveFlux,
  plain: servePlain,
  express: serveExpress,
  'express-reads': serveExpress,
  mercurius: serveMercurius,
};
const url = await serve[kind as keyof typeof serve]();
await hints.listening();
let spans = 0;
process.on('message', (message) => {
  if (message === 'spans') {
    process.send?.({ spans });
    context.setGlobalContextManager(new AsyncLocalStorageContextManager());
    traceWith({ startSpan: () => ((spans += 1), trace.wrapSpanContext(INVALID_SPAN_CONTEXT)) } as unknown as Tracer);
  }
  if (message === 'memory') {
    globalThis.gc?.();
    process.send?.({ rss: process.memoryUsage().rss, cpu: process.cpuUsage() });
  }
});
process.on('disconnect', () => process.exit(0));
process.send?.({ url });
