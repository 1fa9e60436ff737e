import type { Server as HttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { SecureContextOptions } from 'node:tls';

import Fastify, { type FastifyError, type FastifyInstance, type FastifyReply } from 'fastify';
import type { GraphQLSchema } from 'graphql';

import type { Authenticator } from '../auth/authenticator.ts';
import type { RequestContext } from '../auth/request-context.ts';
import { FluxError } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import { createApollo } from './apollo.ts';
import { formatError, logFailure, statusOf } from './error-format.ts';
import type { EventStreamTimes } from './event-stream.ts';
import { type DeepHealth, type ReadinessCheck, serveHealth } from './health.ts';
import { bodyBytesMax, fromHttp } from './http-failure.ts';
import { serveGraphqlOverHttp } from './http-graphql.ts';
import { responseType } from './media-type.ts';
import { type LiveHooks, noLiveHooks } from './live-subscriptions.ts';
import { observeRequests } from './observe-requests.ts';
import { createOperationGate, type GateLimits } from './operation-gate.ts';
import type { DashboardOptions } from './dashboard.ts';
import { servePages } from './pages.ts';
import { type PackageService, servePackages } from './packages.ts';
import { type OnRefused } from './refusals.ts';
import { requestIds } from './request-ids.ts';
import { traceRequests } from './trace-requests.ts';
import { restPath } from './rest/openapi.ts';
import { sendProblem } from './rest/problem.ts';
import { serveRest } from './rest/serve-rest.ts';
import { securityHeaders } from './security-headers.ts';
import { createResultSharing } from './shared-results.ts';
import { serveSignIn, type SignInOptions } from './sign-in.ts';
import { silentConnections } from './silent-connections.ts';
import { createEventStreams } from './sse.ts';
import { readTls, type TlsFiles, watchTls } from './tls.ts';
import { createTrustedDocuments, type TrustedDocumentsOptions } from './trusted-documents.ts';
import { serveUploads, type UploadService } from './uploads.ts';
import { serveGraphqlOverWebSocket } from './websocket.ts';

export const graphqlPath = '/v1/graphql';

export interface ServerConfig {
  environment: 'development' | 'production';
  host: string;
  /** 0 lets the system choose. */
  port: number;
  /** Serves https and wss with this certificate, which may be renewed in place; absent: http and ws. */
  tls?: TlsFiles;
  /** For tests: how often the certificate's files are looked at, milliseconds. */
  tlsEveryMs?: number;
  /** For tests: other times than a client over a network needs. */
  eventStreamTimes?: EventStreamTimes;
  /** Which documents are executed; any if absent. */
  trustedDocuments?: Omit<TrustedDocumentsOptions, 'logger'>;
  /** What one agency may ask of this process; `usualGateLimits` unless said otherwise. */
  gateLimits?: GateLimits;
  /** What `/` shows; a page that says what is where if absent. */
  dashboard?: Pick<DashboardOptions, 'folder'>;
  /** How one signs in to it. */
  signIn?: SignInOptions;
}

export interface ServerDeps<Context extends RequestContext> {
  schema: GraphQLSchema;
  authenticator: Authenticator;
  /** Seals the tenant context (db/migrate.ts `sealKey`). */
  seal: { keyId: string; key: Buffer };
  /** Adds to a request what the resolvers need. Called once per HTTP request and once per WebSocket operation. */
  createContext(request: RequestContext): Context;
  /** Told of each request that was refused before it reached a resolver, for the audit log. */
  onRefused?: OnRefused;
  /** What /health/ready asks, by name. */
  readiness: Readonly<Record<string, ReadinessCheck>>;
  /** What /health/deep asks besides. */
  deepHealth?: DeepHealth;
  /** What takes uploads in; absent: there are none. */
  uploads?: UploadService<Context>;
  /** What packs datasets; absent: there are no packages. */
  packages?: PackageService<Context>;
  /** Who listens, and whose token was revoked. */
  live?: LiveHooks;
  logger: Logger;
}

export interface RunningServer {
  /** `http://127.0.0.1:4000` */
  url: string;
  /** Lets running requests end, sends WebSocket clients away with 1012, resolves when nothing is open. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Starts the API: GraphQL over HTTP, WebSocket and event streams on one port, health, and a page that says what is where.
 *
 * @throws PORT_IN_USE another process listens there
 */
export async function startServer<Context extends RequestContext>(
  config: ServerConfig,
  deps: ServerDeps<Context>,
): Promise<RunningServer> {
  const { schema, authenticator, seal, createContext, live = noLiveHooks, logger } = deps;
  const refusals = deps.onRefused ? { onRefused: deps.onRefused } : {};
  const production = config.environment === 'production';
  const tls = config.tls && readTls(config.tls); // before anything has started
  const apollo = createApollo<Context>({ schema, logger, production, ...refusals });
  await apollo.start();
  const server = createHttpServer(logger, production, tls);
  observeRequests(server, logger);
  traceRequests(server);
  const silent = silentConnections(server.server);
  const gate = createOperationGate(config.gateLimits);
  const sharing = createResultSharing({ logger, production });
  const documents = createTrustedDocuments({ mode: 'off', manifest: new Map(), ...config.trustedDocuments, logger });
  const streams = createEventStreams({
    schema,
    gate,
    sharing,
    seal,
    createContext,
    headers: securityHeaders({ production }),
    live,
    logger,
    production,
    ...refusals,
    ...(config.eventStreamTimes ? { times: config.eventStreamTimes } : {}),
  });
  serveGraphqlOverHttp(server, {
    path: graphqlPath,
    apollo,
    gate,
    documents,
    streams,
    authenticator,
    seal,
    createContext,
    ...refusals,
  });
  const bearers = { authenticator, seal, createContext, logger, production, ...refusals };
  if (deps.uploads) serveUploads(server, { ...bearers, service: deps.uploads });
  if (deps.packages) servePackages(server, { ...bearers, service: deps.packages, gate, live });
  serveRest(server, { ...bearers, schema, gate });
  const sockets = serveGraphqlOverWebSocket(server.server, {
    path: graphqlPath,
    schema,
    gate,
    documents,
    sharing,
    live,
    ...bearers,
  });
  serveHealth(
    server,
    deps.readiness,
    (name, cause) => logger.warn({ check: name, err: cause }, 'not ready'),
    deps.deepHealth,
  );
  const { signIn = { providers: [] } } = config;
  serveSignIn(server, signIn);
  const connectOrigins = signIn.providers.map(({ issuer }) => new URL(issuer).origin);
  servePages(server, {
    graphqlPath,
    production,
    ...(config.dashboard ? { dashboard: { ...config.dashboard, connectOrigins } } : {}),
  });

  const every = config.tlsEveryMs === undefined ? {} : { everyMs: config.tlsEveryMs };
  const unwatch = config.tls
    ? watchTls(server.server as unknown as HttpsServer, config.tls, { logger, ...every })
    : undefined;
  const stop = async (): Promise<void> => {
    unwatch?.();
    streams.stop();
    await sockets.stop();
    const closed = server.close();
    silent.end();
    await closed;
    await apollo.stop();
  };
  try {
    await server.listen({ host: config.host, port: config.port });
  } catch (cause) {
    await stop();
    throw listenFailure(cause, config);
  }
  const { port } = server.server.address() as AddressInfo;
  const host = config.host.includes(':') ? `[${config.host}]` : config.host;
  let stopping: Promise<void> | undefined;
  return { url: `${config.tls ? 'https' : 'http'}://${host}:${String(port)}`, stop: () => (stopping ??= stop()) };
}

function createHttpServer(logger: Logger, production: boolean, tls: SecureContextOptions | undefined): FastifyInstance {
  const headers = securityHeaders({ production });
  const server = Fastify({
    logger: false,
    bodyLimit: bodyBytesMax,
    requestTimeout: 30_000,
    keepAliveTimeout: 60_000,
    forceCloseConnections: 'idle',
    return503OnClosing: true,
    // What Fastify refuses before it has found a route.
    frameworkErrors: (error, request, reply) => {
      void reply.headers(headers);
      const failure = fromHttp(error);
      const said = formatError(failure, { hideSuggestions: production, traceId: requestIds(request.headers).traceId });
      if (request.url.startsWith(restPath)) void sendProblem(reply, failure, said);
      else void (reply as FastifyReply).code(statusOf(failure)).send({ errors: [said] });
    },
    ...(tls ? { https: tls } : {}),
  });
  // GraphQL is JSON; anything else is 415 before it reaches Apollo.
  server.removeContentTypeParser('text/plain');
  server.addHook('onSend', async (_request, reply) => {
    const kept = reply.getHeader('cache-control');
    void reply.headers(kept === undefined ? headers : { ...headers, 'cache-control': kept });
  });
  server.setNotFoundHandler((request) => {
    throw new FluxError(
      'NOT_FOUND',
      `There is no ${request.method} ${request.url.split('?')[0] ?? ''} here; / says what is where.`,
    );
  });
  server.setErrorHandler<FastifyError | FluxError>((error, request, reply) => {
    const failure = fromHttp(error);
    const ids = requestIds(request.headers);
    logFailure(logger, failure, ids);
    if (failure.code === 'UNAUTHENTICATED') void reply.header('www-authenticate', 'Bearer realm="flux"');
    const type = responseType(request.headers.accept) ?? 'application/json';
    return reply
      .code(httpStatus(error, failure))
      .type(`${type}; charset=utf-8`)
      .send(JSON.stringify({ errors: [formatError(failure, { hideSuggestions: production, traceId: ids.traceId })] }));
  });
  return server;
}

function httpStatus(error: FastifyError | FluxError, failure: FluxError): number {
  if (failure.code === 'NOT_FOUND') return 404;
  return error instanceof FluxError ? statusOf(failure) : (error.statusCode ?? statusOf(failure));
}

function listenFailure(cause: unknown, { host, port }: ServerConfig): FluxError {
  const code = (cause as NodeJS.ErrnoException).code;
  if (code === 'EADDRINUSE') {
    return new FluxError(
      'PORT_IN_USE',
      `Another process listens on ${host}:${String(port)}. Stop it, or set FLUX_PORT to a free port.`,
      {
        cause,
      },
    );
  }
  return new FluxError(
    'CONFIG_INVALID',
    `Cannot listen on ${host}:${String(port)} (${code ?? String(cause)}). Check FLUX_HOST and FLUX_PORT.`,
    {
      cause,
    },
  );
}
