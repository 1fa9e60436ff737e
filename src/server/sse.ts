/**
 * GraphQL over server-sent events, distinct connections mode of graphql-sse: one request with `Accept: text/event-stream` is one
 * operation; its answer is `next` events and then one `complete`. A GET may ask for anything but a mutation.
 *
 * What is no GraphQL request, has no good token or finds no room is refused as an ordinary HTTP answer. An operation's own errors,
 * those of validation included, are a `next`. A stream that ends without `complete` was cut: by the end of the token, because it
 * was revoked, by a restart, or because the client took nothing. Whoever reconnects, with a newer token if need be, goes on from
 * its last cursor.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import {
  type ExecutionArgs,
  type ExecutionResult,
  execute,
  getOperationAST,
  type GraphQLSchema,
  OperationTypeNode,
} from 'graphql';

import type { Principal } from '../auth/principal.ts';
import { createRequestContext, type RequestContext } from '../auth/request-context.ts';
import { FluxError } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import { deliver } from './deliver.ts';
import { failureOf, reportErrors } from './error-format.ts';
import { type EventStream, type EventStreamTimes, openEventStream } from './event-stream.ts';
import { abortFirst } from './operation-results.ts';
import type { OperationGate } from './operation-gate.ts';
import { type OperationRequest, prepareOperation } from './operations.ts';
import type { OnRefused } from './refusals.ts';
import { describeSubscription, type LiveHooks } from './live-subscriptions.ts';
import { requestIds, userAgentOf } from './request-ids.ts';
import type { ResultSharing, SharedResults } from './shared-results.ts';
import { hasEnded, onTokenEnd } from './token-end.ts';
import { sessionCounter } from './websocket-session.ts';

const streamsMax = 5_000;
/** As many as a socket carries subscriptions. */
const streamsPerPrincipalMax = 50;
const usualTimes: EventStreamTimes = { stallMs: 30_000, heartbeatMs: 12_000 };

export interface EventStreamOptions<Context extends RequestContext> {
  schema: GraphQLSchema;
  gate: OperationGate;
  sharing: ResultSharing;
  seal: { keyId: string; key: Buffer };
  createContext(request: RequestContext): Context;
  headers: Record<string, string>;
  live: LiveHooks;
  logger: Logger;
  production: boolean;
  times?: EventStreamTimes;
  onRefused?: OnRefused;
}

export interface StreamRequest {
  principal: Principal;
  /** What the body or the URL holds; anything. */
  asked: unknown;
  /** Whether a mutation may be among it. */
  mayChange: boolean;
}

export interface EventStreams {
  /**
   * Answers a request with a stream and resolves at its end.
   *
   * @throws INVALID_INPUT it is no GraphQL request; LIMIT_EXCEEDED too many streams: before anything is sent
   */
  answer(request: FastifyRequest, reply: FastifyReply, asked: StreamRequest): Promise<void>;
  /** Ends all streams; their clients come back elsewhere. */
  stop(): void;
}

export function createEventStreams<Context extends RequestContext>(options: EventStreamOptions<Context>): EventStreams {
  const open = new Set<EventStream>();
  const perPrincipal = sessionCounter(streamsPerPrincipalMax);
  return {
    async answer(request, reply, { principal, asked: given, mayChange }) {
      const asked = readRequest(given);
      if (open.size >= streamsMax || !perPrincipal.enter(principal)) throw tooManyStreams();
      reply.hijack();
      const controller = new AbortController();
      const overtime = new AbortController();
      const { requestId, traceId } = requestIds(request.headers);
      const stream = openEventStream(reply.raw, {
        headers: { ...options.headers, 'x-request-id': requestId },
        times: options.times ?? usualTimes,
        closed: () => controller.abort(),
      });
      open.add(stream);
      let revoked = false;
      const tokenEnd = (): Date => (revoked ? new Date(0) : principal.expiresAt);
      const forget = onTokenEnd(tokenEnd, () => stream.end());
      const unwatch = options.live.watch(principal, () => {
        revoked = true;
        stream.end();
      });
      const context = createRequestContext({
        principal,
        tokenEnd,
        seal: options.seal,
        requestId,
        traceId,
        ip: request.ip,
        userAgent: userAgentOf(request.headers),
        signal: AbortSignal.any([controller.signal, overtime.signal]),
      });
      try {
        await run(options, { asked, mayChange, context, controller, overtime, stream });
      } finally {
        stream.end();
        forget();
        unwatch();
        open.delete(stream);
        perPrincipal.leave(principal);
      }
    },
    stop() {
      for (const stream of open) stream.end();
    },
  };
}

interface Running {
  asked: OperationRequest;
  mayChange: boolean;
  context: RequestContext;
  /** Of the client's end. */
  controller: AbortController;
  /** Of the time's end. */
  overtime: AbortController;
  stream: EventStream;
}

/** Sends an operation's results and `complete`. Never throws: what fails is the last result. */
async function run<Context extends RequestContext>(
  options: EventStreamOptions<Context>,
  { asked, mayChange, context, controller, overtime, stream }: Running,
): Promise<void> {
  const { principal, requestId, traceId } = context;
  const ids = { requestId, traceId, agency: principal.agency, hideSuggestions: options.production };
  const send = (result: ExecutionResult): Promise<void> =>
    stream.send(
      'next',
      JSON.stringify(result.errors ? { ...result, errors: reportErrors(options.logger, result.errors, ids) } : result),
    );
  try {
    const prepared = prepareOperation(options.schema, asked, { introspection: !options.production });
    if ('document' in prepared && !mayChange) refuseMutation(prepared);
    if (!('document' in prepared)) {
      options.onRefused?.(context, failureOf(prepared[0]));
      await send({ errors: prepared });
    } else {
      const args = { ...prepared, contextValue: options.createContext(context) };
      const result = await options.gate.run(
        principal.agency,
        () => start(options.sharing, args),
        () => overtime.abort(),
      );
      if (!('batches' in result) && !(Symbol.asyncIterator in result)) await send(result);
      else {
        const live = options.live.opened(describeSubscription(args, context, { principal, transport: 'sse' }));
        const running = { context, controller, send, stream };
        const sending = 'batches' in result ? sendShared(result, running) : sendAll(result, running);
        if (!(await sending.finally(() => live.closed()))) return;
      }
    }
  } catch (cause) {
    if (controller.signal.aborted) return;
    options.onRefused?.(context, failureOf(cause));
    const errors = reportErrors(options.logger, [cause], ids);
    await stream.send('next', JSON.stringify({ errors }));
  }
  await stream.send('complete', '');
}

/** What a link or a cache may repeat must change nothing. @throws INVALID_INPUT */
function refuseMutation({ document, operationName }: Pick<ExecutionArgs, 'document' | 'operationName'>): void {
  if (getOperationAST(document, operationName)?.operation !== OperationTypeNode.MUTATION) return;
  throw new FluxError('INVALID_INPUT', 'A mutation was sent with GET. Send it with POST.');
}

function start(sharing: ResultSharing, args: ExecutionArgs): ReturnType<ResultSharing['subscribe']> {
  const operation = getOperationAST(args.document, args.operationName);
  if (operation?.operation !== OperationTypeNode.SUBSCRIPTION) return Promise.resolve(execute(args));
  return sharing.subscribe(args);
}

/** @returns whether the source came to its end, and nobody ended it */
async function sendShared(
  shared: SharedResults,
  { context, controller, stream }: Pick<Running, 'context' | 'controller' | 'stream'>,
): Promise<boolean> {
  const { signal } = controller;
  let expired = false;
  let sending: Promise<void> | undefined;
  signal.addEventListener('abort', () => shared.batches.close(), { once: true });
  await deliver(shared, {
    closed: () => signal.aborted || (expired = hasEnded(context.tokenEnd)),
    send(texts) {
      const { sent, written } = stream.sendSome('next', texts);
      sending = written;
      return sent;
    },
    room: () => sending,
  });
  shared.batches.close();
  return !expired && !signal.aborted;
}

/** @returns whether the source came to its end, and nobody ended it */
async function sendAll(
  source: AsyncGenerator<ExecutionResult>,
  {
    context,
    controller,
    send,
  }: Pick<Running, 'context' | 'controller'> & { send(result: ExecutionResult): Promise<void> },
): Promise<boolean> {
  let expired = false;
  const results = abortFirst(source, controller, () => (expired = hasEnded(context.tokenEnd)));
  // The source may be deaf to everything but its return().
  const leave = (): void => void results.return(undefined).catch(() => undefined);
  controller.signal.addEventListener('abort', leave, { once: true });
  for await (const result of results) await send(result);
  return !expired && !controller.signal.aborted;
}

/** @throws INVALID_INPUT the body is no GraphQL request */
function readRequest(body: unknown): OperationRequest {
  const { query, operationName, variables } = (body ?? {}) as Record<string, unknown>;
  const fits =
    typeof query === 'string' &&
    (operationName === undefined || operationName === null || typeof operationName === 'string') &&
    (variables === undefined || variables === null || (typeof variables === 'object' && !Array.isArray(variables)));
  if (fits) return { query, operationName, variables: variables as Record<string, unknown> | null | undefined };
  throw new FluxError(
    'INVALID_INPUT',
    'A JSON object with `query` (a text) and, if needed, `operationName` (a text) and `variables` (an object) was expected.',
  );
}

function tooManyStreams(): FluxError {
  return new FluxError(
    'LIMIT_EXCEEDED',
    `At most ${String(streamsPerPrincipalMax)} event streams are open at once for one person. Close one, or use a WebSocket, which carries many operations.`,
  );
}
