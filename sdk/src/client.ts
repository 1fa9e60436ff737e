import { connectionStates, type ConnectionReporter, type OnConnection } from './connection-state.ts';
import type { TypedDocument } from './document.ts';
import { unavailable } from './errors.ts';
import { execute } from './http.ts';
import type { CallOptions, Operations } from './operations.ts';
import { randomUuid } from './random.ts';
import { type ClientOptions, type Settings, settingsOf, type Transport } from './settings.ts';
import { subscribeOverSse } from './sse.ts';
import type { StreamHooks } from './stream.ts';
import { openSockets } from './websocket.ts';

/** The way to one API. The functions of this package take it; `createFlux` binds all of them to one. */
export interface Client extends Operations {
  readonly settings: Settings;
  /**
   * Runs a query or mutation of the caller's own and answers all of its data. A mutation whose variables have an `input` gets an
   * idempotency key like the SDK's own.
   *
   * @throws FluxError
   */
  request<T>(text: string, variables?: Record<string, unknown>, options?: CallOptions): Promise<T>;
  /** One subscription over one connection, by a way of the caller's choice. @throws FluxError */
  open<R, V, K extends keyof R & string>(
    transport: Exclude<Transport, 'polling'>,
    document: TypedDocument<R, V>,
    variables: V,
    root: K,
    hooks: StreamHooks,
  ): AsyncGenerator<R[K], void, undefined>;
  /** Who is told of a stream's connection. */
  report(onConnection?: OnConnection): ConnectionReporter;
  /** Ends every stream and closes the socket. */
  close(): void;
  /** Aborts with `close`. */
  readonly closed: AbortSignal;
}

export interface CreateClientOptions extends ClientOptions {
  /** Called when the state of all streams together changes: the worst of them. */
  onConnection?: OnConnection;
}

export function createClient(options: CreateClientOptions): Client {
  const settings = settingsOf(options);
  const sockets = openSockets(settings);
  const states = connectionStates(settings.staleAfterMs, options.onConnection);
  const closing = new AbortController();
  const run = (
    document: TypedDocument<unknown, unknown>,
    variables: unknown,
    root: string | null,
    signal?: AbortSignal,
  ) =>
    execute(settings, document, variables, root, signal ? AbortSignal.any([signal, closing.signal]) : closing.signal);
  const open: Client['open'] = (transport, document, variables, root, hooks) =>
    (transport === 'websocket'
      ? sockets.subscribe(document as TypedDocument<unknown, unknown>, variables, root, hooks)
      : subscribeOverSse(settings, document as TypedDocument<unknown, unknown>, variables, root, hooks)) as never;

  return {
    settings,
    query: (document, variables, root, { signal } = {}) =>
      run(document as TypedDocument<unknown, unknown>, variables, root, signal) as never,
    mutate: (document, variables, root, { signal } = {}) =>
      run(document as TypedDocument<unknown, unknown>, withIdempotencyKey(variables), root, signal) as never,
    request: (text, variables = {}, { signal } = {}) =>
      run(
        { text, hash: '' },
        /^\s*mutation\b/.test(text) ? withIdempotencyKey(variables) : variables,
        null,
        signal,
      ) as never,
    async *subscribe(document, variables, root, { signal } = {}) {
      const ended = signal ? AbortSignal.any([signal, closing.signal]) : closing.signal;
      const ways = settings.transports.filter((transport) => transport !== 'polling');
      for (const [i, transport] of ways.entries()) {
        let isOpen = false;
        try {
          const hooks = { signal: ended, connected: () => (isOpen = true), used: () => undefined };
          return yield* open(transport, document, variables, root, hooks);
        } catch (cause) {
          if (isOpen || i === ways.length - 1 || (cause as { code?: string }).code !== 'UNAVAILABLE') throw cause;
        }
      }
      throw unavailable('None of the allowed transports carries a subscription.');
    },
    open,
    report: (onConnection) => states.report(onConnection),
    closed: closing.signal,
    close() {
      closing.abort();
      sockets.close();
    },
  };
}

/** Every mutation of the API has one input, and every input takes a key. */
function withIdempotencyKey(variables: unknown): unknown {
  const { input, ...others } = variables as { input?: { idempotencyKey?: string | null } };
  if (typeof input !== 'object') return variables;
  return { ...others, input: { ...input, idempotencyKey: input.idempotencyKey ?? randomUuid() } };
}
