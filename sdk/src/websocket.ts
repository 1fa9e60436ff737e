import { type Client, createClient } from 'graphql-ws/client';

import type { TypedDocument } from './document.ts';
import { FluxError, fromWire, unauthenticated, unavailable, type WireError } from './errors.ts';
import { valueOf } from './http.ts';
import type { Settings } from './settings.ts';
import type { StreamHooks } from './stream.ts';
import { renewalDelay } from './token.ts';

const pingEveryMs = 10_000;
const pongWithinMs = 5_000;

/** Subscriptions over one socket (graphql-transport-ws), which opens with the first of them and closes after the last. */
export interface Sockets {
  /**
   * Runs a subscription until the server completes it or `signal` aborts.
   *
   * @throws UNAUTHENTICATED the token was refused or ran out; UNAVAILABLE the socket did not open or broke; what the API answers
   */
  subscribe(
    document: TypedDocument<unknown, unknown>,
    variables: unknown,
    root: string,
    hooks: StreamHooks,
  ): AsyncGenerator<unknown, void, undefined>;
  close(): void;
}

interface Socket {
  client: Client;
  /** Calls back when the server has taken the token, at once if it has. @returns no longer */
  whenConnected(then: () => void): () => void;
}

export function openSockets(settings: Settings): Sockets {
  let socket: Socket | undefined;
  return {
    async *subscribe(document, variables, root, { signal, connected, used }) {
      if (signal.aborted) return;
      if (settings.webSocket === undefined) throw unavailable('This platform has no WebSocket.');
      const { client, whenConnected } = (socket ??= createSocket(settings, settings.webSocket));
      used(await settings.token.current());
      const body = settings.bodyOf(document, variables) as unknown as { query: string };
      const results = client.iterate<Record<string, unknown>>(body);
      const leave = (): void => void results.return?.();
      signal.addEventListener('abort', leave, { once: true });
      const late = setTimeout(() => client.terminate(), settings.connectTimeoutMs);
      const forget = whenConnected(() => {
        clearTimeout(late);
        connected();
      });
      try {
        for await (const result of results) yield valueOf(result as Parameters<typeof valueOf>[0], root);
      } catch (cause) {
        if (!signal.aborted) throw socketFailure(cause, settings.endpoint);
      } finally {
        clearTimeout(late);
        forget();
        signal.removeEventListener('abort', leave);
        leave();
      }
    },
    close() {
      void socket?.client.dispose();
      socket = undefined;
    },
  };
}

function createSocket(settings: Settings, webSocketImpl: typeof WebSocket): Socket {
  let isConnected = false;
  let pong: ReturnType<typeof setTimeout> | undefined;
  let raw: WebSocket | undefined;
  let sent = '';
  let renewal: ReturnType<typeof setTimeout> | undefined;
  /** The server takes a newer token in a ping, and what runs goes on under it. Where that fails, the socket ends with the old one. */
  const renew = async (): Promise<void> => {
    const over = raw;
    const newer = await settings.token.renew(sent);
    if (newer === sent || over === undefined || over !== raw) return;
    sent = newer;
    over.send(JSON.stringify({ type: 'ping', payload: { authorization: `Bearer ${newer}` } }));
  };
  const renewInTime = (): void => {
    const delay = renewalDelay(sent);
    clearTimeout(renewal);
    if (delay !== undefined) renewal = setTimeout(() => void renew().catch(() => undefined), delay);
  };
  const client = createClient({
    url: settings.endpoint.replace(/^http/, 'ws'),
    connectionParams: async () => {
      sent = await settings.token.current();
      return { authorization: `Bearer ${sent}` };
    },
    webSocketImpl,
    // Reconnecting is stream.ts' affair: only it knows the cursor.
    retryAttempts: 0,
    connectionAckWaitTimeout: settings.connectTimeoutMs,
    keepAlive: pingEveryMs,
    on: {
      opened: (opened) => (raw = opened as WebSocket),
      connected: () => {
        isConnected = true;
        renewInTime();
      },
      closed: () => {
        isConnected = false;
        raw = undefined;
        clearTimeout(renewal);
        clearTimeout(pong);
      },
      // A path that takes our bytes and brings none back looks open for minutes.
      ping: (received) => {
        if (!received) pong = setTimeout(() => client.terminate(), pongWithinMs);
      },
      pong: (received, payload) => {
        if (received) clearTimeout(pong);
        if (received && payload?.['refreshed'] === true) renewInTime();
      },
    },
  });
  return {
    client,
    whenConnected(then) {
      if (!isConnected) return client.on('connected', then);
      then();
      return () => undefined;
    },
  };
}

/** graphql-ws throws the close event of the socket, an array of GraphQL errors, or whatever the platform's socket fails with. */
function socketFailure(cause: unknown, endpoint: string): FluxError {
  if (cause instanceof FluxError) return cause;
  if (Array.isArray(cause) && cause.length > 0) return fromWire(cause[0] as WireError);
  const { code, reason } = cause as { code?: number; reason?: string };
  if (code === 4401 || code === 4403) return unauthenticated(reason || 'The token was refused.', cause);
  return unavailable(`The socket to ${new URL(endpoint).host} broke or did not open.`, cause);
}
