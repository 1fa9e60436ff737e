import type { TypedDocument } from './document.ts';
import { keepToken, type TokenKeeper, type TokenSource } from './token.ts';

/** How events may come, the best first. */
export type Transport = 'websocket' | 'sse' | 'polling';

export interface ClientOptions {
  /** Where the API is: `https://flux.example.gov`. A page that the API itself serves may say `location.origin`. */
  url: string;
  token: TokenSource;
  /** Sends a document's hash instead of its text, for servers with trusted documents. */
  trustedDocuments?: boolean;
  /** Which ways to try, in this order; all three if absent. */
  transports?: readonly Transport[];
  /** After how long without an answer a request is tried again, in milliseconds; 30,000 if absent. */
  requestTimeoutMs?: number;
  /** How often the polling fallback asks, in milliseconds; 1,000 if absent. */
  pollIntervalMs?: number;
  /** For how long nothing may have come before what is shown counts as stale, in milliseconds; 10,000 if absent. */
  staleAfterMs?: number;
  fetch?: typeof fetch;
  webSocket?: typeof WebSocket;
}

/** Options with everything filled in. */
export interface Settings {
  endpoint: string;
  token: TokenKeeper;
  transports: readonly Transport[];
  requestTimeoutMs: number;
  pollIntervalMs: number;
  staleAfterMs: number;
  /** How long a connection may take to open, and an event stream may be silent. */
  connectTimeoutMs: number;
  silenceMs: number;
  fetch: typeof fetch;
  webSocket: typeof WebSocket | undefined;
  /** What is sent for a document. */
  bodyOf(document: TypedDocument<unknown, unknown>, variables: unknown): Record<string, unknown>;
}

export const endpointPath = '/v1/graphql';

export function settingsOf(options: ClientOptions): Settings {
  return {
    endpoint: new URL(endpointPath, options.url).href,
    token: keepToken(options.token),
    transports: options.transports ?? ['websocket', 'sse', 'polling'],
    requestTimeoutMs: options.requestTimeoutMs ?? 30_000,
    pollIntervalMs: options.pollIntervalMs ?? 1_000,
    staleAfterMs: options.staleAfterMs ?? 10_000,
    connectTimeoutMs: 5_000,
    // The server says something every 12 seconds.
    silenceMs: 30_000,
    fetch: options.fetch ?? ((...given) => fetch(...given)),
    webSocket: options.webSocket ?? globalThis.WebSocket,
    bodyOf: ({ text, hash }, variables) =>
      options.trustedDocuments ? { documentId: hash, variables } : { query: text, variables },
  };
}
