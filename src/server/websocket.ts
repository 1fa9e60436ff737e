/**
 * GraphQL over WebSocket, protocol graphql-transport-ws, on the port and path of HTTP.
 *
 * A socket is opened (upgrade: path, Origin, room), connected (connection_init with a token, within 3 seconds), used, and closed:
 * 4400 not the protocol · 4401 subscribe before the acknowledgement · 4403 bad, missing or expired token · 4406 another
 * subprotocol · 4408 no connection_init in time · 4409 an id twice · 4429 connection_init twice · 1009 a message above 64 KiB ·
 * 1012 this server restarts · 1013 too many sockets. An operation's own errors are messages and never close it.
 *
 * A newer token comes in a ping, `{"type":"ping","payload":{"authorization":"Bearer …"}}`, and what runs goes on under it. The pong
 * says so: `{"refreshed":true,"expiresAt":…}`, or `{"refreshed":false,"code":…,"message":…}` and the old one holds to its end.
 */
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';

import { execute, type ExecutionArgs, type ExecutionResult, GraphQLError, type GraphQLSchema } from 'graphql';
import { makeServer, type Context as WsContext } from 'graphql-ws';
import type { Extra } from 'graphql-ws/use/ws';
import { type WebSocket, WebSocketServer } from 'ws';

import { type Authenticator, bearerToken } from '../auth/authenticator.ts';
import { createRequestContext, type RequestContext, tokenExpired } from '../auth/request-context.ts';
import { FluxError, isFluxError } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import { deliver } from './deliver.ts';
import { failureOf, reportErrors } from './error-format.ts';
import { describeSubscription, type LiveHooks } from './live-subscriptions.ts';
import { abortFirst, deliveredBy } from './operation-results.ts';
import { inSpan, SpanKind, type SpanPlace } from '../telemetry/tracing.ts';
import type { OperationGate } from './operation-gate.ts';
import { type OperationRequest, prepareOperation } from './operations.ts';
import { type OnRefused, tellRefusal } from './refusals.ts';
import type { TrustedDocuments } from './trusted-documents.ts';
import type { ResultSharing, SharedResults } from './shared-results.ts';
import { socketOutlet, speakProtocol } from './websocket-adapter.ts';
import { forbidden, openSession, type Session, sessionCounter, tryAgainLater } from './websocket-session.ts';

const messageBytesMax = 64 * 1024;
const initWaitMs = 3_000;
const socketsMax = 5_000;
const socketsPerPrincipalMax = 20;
const operationsPerSocketMax = 50;
const drainMs = 1_000;
const unavailable = '503 Service Unavailable';

export interface WebSocketOptions<Context extends RequestContext> {
  path: string;
  schema: GraphQLSchema;
  gate: OperationGate;
  documents: TrustedDocuments;
  sharing: ResultSharing;
  authenticator: Authenticator;
  seal: { keyId: string; key: Buffer };
  createContext(request: RequestContext): Context;
  live: LiveHooks;
  logger: Logger;
  production: boolean;
  onRefused?: OnRefused;
}

type Socket = WsContext<Record<string, unknown> | undefined, Extra>;

/** @returns stop: tells the clients to come back elsewhere (1012) and resolves when all sockets are closed */
export function serveGraphqlOverWebSocket<Context extends RequestContext>(
  server: Server,
  options: WebSocketOptions<Context>,
): { stop(): Promise<void> } {
  const { schema, authenticator, logger, production } = options;
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: messageBytesMax,
    maxBufferedChunks: 1_024,
    maxFragments: 128,
    perMessageDeflate: false,
  });
  const sessions = new WeakMap<WebSocket, Session>();
  const perPrincipal = sessionCounter(socketsPerPrincipalMax);
  const format = { hideSuggestions: production };
  const controllers = new WeakMap<object, AbortController>();
  const places = new WeakMap<object, SpanPlace | null>();
  const streams = new WeakMap<WebSocket, Duplex>();

  /** What the gate refuses is the operation's answer: thrown, graphql-ws would close the socket for it. */
  const inTurn = async <T>(args: ExecutionArgs, work: () => Promise<T> | T): Promise<T | ExecutionResult> => {
    const context = args.contextValue as Context;
    const span = { kind: SpanKind.SERVER, parent: places.get(context) ?? null };
    try {
      return await inSpan('websocket operation', span, () =>
        options.gate.run(context.principal.agency, work, () => controllers.get(context)?.abort()),
      );
    } catch (cause) {
      if (!(cause instanceof FluxError)) throw cause;
      options.onRefused?.(context, cause);
      return { errors: [new GraphQLError(cause.message, { originalError: cause })] };
    }
  };

  const onConnect = async ({ connectionParams, extra: { socket, request } }: Socket): Promise<boolean> => {
    try {
      const principal = await authenticator.authenticate(bearerToken(tokenHeader(connectionParams, request)));
      if (socket.readyState !== socket.OPEN) return false;
      if (!perPrincipal.enter(principal)) {
        socket.close(tryAgainLater.code, 'Too many sockets');
        return false;
      }
      const session = openSession(socket, request, { principal, hooks: options.live });
      sessions.set(socket, session);
      const { requestId, traceId } = session;
      logger.debug({ requestId, traceId, agency: principal.agency }, 'a socket was opened');
      return true;
    } catch (cause) {
      tellRefusal(options.onRefused, fromOf(request), undefined, failureOf(cause));
      if (!isFluxError(cause, 'UNAUTHENTICATED')) {
        logger.warn({ err: cause }, 'a token could not be checked');
        socket.close(tryAgainLater.code, tryAgainLater.reason);
      }
      return false;
    }
  };

  const onSubscribe = (
    { extra: { socket } }: Socket,
    id: string,
    payload: OperationRequest,
  ): ExecutionArgs | readonly GraphQLError[] => {
    const session = sessions.get(socket);
    if (!session || session.expired()) {
      socket.close(forbidden.code, forbidden.reason);
      return [new GraphQLError('', { originalError: tokenExpired() })];
    }
    if (session.running.size >= operationsPerSocketMax) return [tooManyOperations()];
    let query: string;
    try {
      query = options.documents.textOf(payload) as string; // graphql-ws has seen that it is a text
    } catch (cause) {
      const failure = failureOf(cause);
      return [new GraphQLError(failure.message, { originalError: failure })];
    }
    const prepared = prepareOperation(schema, { ...payload, query }, { introspection: !production });
    if (!('document' in prepared)) return prepared;
    const controller = new AbortController();
    session.running.set(id, { controller, ended: Promise.withResolvers<void>() });
    const { tokenEnd, requestId, traceId, ip, userAgent } = session;
    const context = createRequestContext({
      principal: session.principal,
      tokenEnd,
      seal: options.seal,
      requestId,
      traceId,
      ip,
      userAgent,
      signal: controller.signal,
    });
    const contextValue = options.createContext(context);
    controllers.set(contextValue, controller);
    places.set(contextValue, session.place);
    return { ...prepared, contextValue };
  };

  const report = (session: Session | undefined, errors: readonly GraphQLError[]) =>
    reportErrors(logger, errors, { ...idsOf(session), ...format });
  const endOperation = ({ extra: { socket } }: Socket, id: string): void => {
    const session = sessions.get(socket);
    const operation = session?.running.get(id);
    operation?.controller.abort();
    operation?.live?.closed();
    session?.running.delete(id);
    // graphql-ws gives the id free right after it has told.
    setImmediate(() => operation?.ended.resolve());
  };

  const protocol = makeServer<Record<string, unknown> | undefined, Extra>({
    connectionInitWaitTimeout: initWaitMs,
    onConnect,
    onSubscribe,
    execute: (args) => inTurn(args, () => execute(args)),
    subscribe: (args) => inTurn(args, () => options.sharing.subscribe(args)) as Promise<ExecutionResult>,
    onOperation: ({ extra: { socket } }, id, _payload, args, result) => {
      const session = sessions.get(socket);
      const operation = session?.running.get(id);
      if (!session || !operation || !('batches' in result || Symbol.asyncIterator in result)) return undefined;
      const { controller } = operation;
      operation.live = options.live.opened(
        describeSubscription(args, session, { principal: session.principal, transport: 'websocket' }),
      );
      const expired = (): boolean => {
        if (!session.expired()) return false;
        socket.close(forbidden.code, forbidden.reason);
        return true;
      };
      if ('batches' in result) {
        const shared = result as unknown as SharedResults;
        const stream = streams.get(socket) as Duplex;
        return deliveredBy(shared, controller, () => deliver(shared, socketOutlet({ socket, stream, id, expired })));
      }
      return abortFirst(result as AsyncGenerator<ExecutionResult>, controller, expired);
    },
    onNext: ({ extra: { socket } }, _id, _payload, _args, result) =>
      result.errors ? { data: result.data ?? null, errors: report(sessions.get(socket), result.errors) } : undefined,
    onError: (socket, id, _payload, errors) => {
      endOperation(socket, id);
      const session = sessions.get(socket.extra.socket);
      if (session && errors[0]?.path === undefined) options.onRefused?.(session, failureOf(errors[0]));
      return report(sessions.get(socket.extra.socket), errors);
    },
    onComplete: endOperation,
    onClose: ({ extra: { socket } }) => {
      const session = sessions.get(socket);
      if (!session) return;
      sessions.delete(socket);
      session.end();
      perPrincipal.leave(session.principal);
    },
  });
  const refresh = async (socket: WebSocket, authorization: string): Promise<Record<string, unknown>> => {
    try {
      const newer = await authenticator.authenticate(bearerToken(authorization));
      const session = sessions.get(socket);
      if (session?.refresh(newer)) return { refreshed: true, expiresAt: session.tokenEnd().toISOString() };
      throw otherRights();
    } catch (cause) {
      const { code, message } = failureOf(cause);
      return { refreshed: false, code, message };
    }
  };
  speakProtocol(protocol, sockets, {
    logger,
    completed: (socket, id) => sessions.get(socket)?.running.get(id)?.controller.abort(),
    ending: (socket, id) => {
      const operation = sessions.get(socket)?.running.get(id);
      return operation?.controller.signal.aborted ? operation.ended.promise : undefined;
    },
    pong: async (socket, payload) => {
      const authorization = payload?.['authorization'];
      // What a client sends in a ping comes back in the pong; a token does not.
      return typeof authorization === 'string' ? refresh(socket, authorization) : payload;
    },
  });

  let over = false;
  const onUpgrade = (request: IncomingMessage, stream: Duplex, head: Buffer): void => {
    stream.on('error', () => stream.destroy());
    const refusal = over ? unavailable : refusalOf(request, options.path, sockets.clients.size);
    if (refusal) {
      // Node has let go of the connection: nobody else ends it, and a server that stops would wait for the client to.
      stream.end(`HTTP/1.1 ${refusal}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => stream.destroy());
      return;
    }
    sockets.handleUpgrade(request, stream, head, (socket) => {
      streams.set(socket, stream);
      sockets.emit('connection', socket, request);
    });
  };
  server.on('upgrade', onUpgrade);

  return {
    async stop() {
      over = true;
      for (const socket of sockets.clients) socket.close(1012, 'Service restart');
      const timer = setTimeout(() => {
        for (const socket of sockets.clients) socket.terminate();
      }, drainMs);
      await new Promise<void>((resolve) => sockets.close(() => resolve()));
      clearTimeout(timer);
    },
  };
}

function fromOf({ headers, socket }: IncomingMessage) {
  return { headers, ip: socket.remoteAddress ?? 'unknown' };
}

function idsOf(session: Session | undefined): { requestId: string; traceId: string; agency?: string } {
  if (!session) return { requestId: '', traceId: '' };
  return { requestId: session.requestId, traceId: session.traceId, agency: session.principal.agency };
}

/** `connectionParams.authorization`, which a browser can set, or else the upgrade request's header. */
function tokenHeader(params: Record<string, unknown> | undefined, request: IncomingMessage): string | undefined {
  const given = params?.['authorization'] ?? params?.['Authorization'];
  return typeof given === 'string' ? given : request.headers.authorization;
}

/** A page of another site may not open a socket: its browser says where it comes from. Programs send no Origin. */
function refusalOf(request: IncomingMessage, path: string, open: number): string | null {
  const { pathname } = new URL(request.url ?? '/', 'http://flux');
  if (pathname !== path) return '404 Not Found';
  const { origin, host } = request.headers;
  if (origin !== undefined && (!URL.canParse(origin) || new URL(origin).host !== host)) return '403 Forbidden';
  return open >= socketsMax ? unavailable : null;
}

function otherRights(): FluxError {
  return new FluxError(
    'FORBIDDEN',
    'The newer token is of another person, role or clearance. Open a socket with it, and subscribe from the last cursor.',
  );
}

function tooManyOperations(): GraphQLError {
  const message = `A socket carries at most ${String(operationsPerSocketMax)} operations at once. Complete one, or open another socket.`;
  return new GraphQLError(message, { originalError: new FluxError('LIMIT_EXCEEDED', message) });
}
