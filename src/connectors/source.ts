import type { DataKey } from '../objects/object-store.ts';

/** What a connection opens: bytes, once, from the beginning, with what is known about them. */
export interface SourceStream {
  /** For people: `file:birdstrikes.csv`. Never an absolute path of the machine, never a secret. */
  origin: string;
  modifiedAt: Date | null;
  /** How many bytes there will be, where that is known before and any other number fails the reading. */
  byteCount?: number;
  /** The system's own name for exactly these bytes, by which it can be asked whether they changed; null where it has none. */
  etag?: string | null;
  /** Up to where a source that is read by a cursor column goes. */
  increment?: SourceIncrement;
  /** What the system itself says of how many records it gave, when the bytes have ended; null where it does not count. */
  recordCount?: () => number | null;
  /**
   * A piece holds until the next one is asked for.
   *
   * @throws SOURCE_UNAVAILABLE the source changed or failed while it was read
   */
  bytes: AsyncIterable<Uint8Array>;
}

/** The source still holds what `known` said. */
export interface SourceUnchanged {
  origin: string;
  unchanged: true;
}

export interface SourceRequest {
  agency: string;
  connection: SourceAccess;
  /** Where in the connection; what each kind makes of it is its own. */
  source: SourcePlace;
  /** What was pinned from this origin before; asked only by kinds that can find out whether it changed. */
  known?: ((origin: string) => Promise<{ etag: string } | null>) | undefined;
  /** What the path names among the agency's uploads; null where there is no complete one (upload). */
  uploaded?: UploadedFile | null;
  /** Where the last completed run over this source ended, by a cursor column; null reads from the beginning. */
  since?: ((cursor: string) => Promise<string | null>) | undefined;
  signal: AbortSignal;
}

/** A complete upload: its parts in order, each an object of the store. */
export interface UploadedFile {
  name: string;
  /** Lower-case hex, of the whole. */
  sha256: string;
  parts: readonly { address: string; keyVersion: number | null }[];
  keyOf(version: number): Promise<DataKey>;
}

/** A connection as its connector needs it. */
export interface SourceAccess {
  name: string;
  kind: string;
  config: Readonly<Record<string, unknown>>;
  /** Decrypted; null, or absent, where the connection has none. */
  secret?: Readonly<Record<string, unknown>> | null;
}

export interface SourcePlace {
  path: string;
  format: Readonly<Record<string, unknown>> & { type: string };
  /** How a list that comes in pages goes on (https). */
  pages?: SourcePages;
  /** Only what has come since the last completed run, by a column that only rises; a database gives no more, of anything else all is pinned. */
  incremental?: { cursor: string };
}

/** The greatest value of a cursor column that was read, as the system writes it; null while there is none. */
export interface SourceIncrement {
  cursor: string;
  value: string | null;
}

export type SourcePages =
  | { type: 'link-header'; maxPages?: number }
  | { type: 'next-link'; pointer: string; maxPages?: number }
  | { type: 'cursor'; pointer: string; parameter: string; maxPages?: number }
  | { type: 'page-number'; parameter: string; first?: number; maxPages?: number };

/** One kind of connection, for reading. */
export interface SourceConnector {
  /**
   * @throws SOURCE_INVALID missing, unreadable, empty, or outside what the connection allows
   * @throws SOURCE_UNAVAILABLE it may work later
   */
  open(request: SourceRequest): Promise<SourceStream | SourceUnchanged>;
}
