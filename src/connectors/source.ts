/** What a connection opens: bytes, once, from the beginning, with what is known about them. */
export interface SourceStream {
  /** For people: `file:birdstrikes.csv`. Never an absolute path of the machine. */
  origin: string;
  modifiedAt: Date | null;
  /** @throws SOURCE_UNAVAILABLE the source changed or failed while it was read */
  bytes: AsyncIterable<Uint8Array>;
}

export interface SourceRequest {
  agency: string;
  connection: { name: string; kind: string; config: Readonly<Record<string, unknown>> };
  /** Relative to a root of the connection. */
  path: string;
  signal: AbortSignal;
}

/** One kind of connection, for reading. */
export interface SourceConnector {
  /**
   * @throws SOURCE_INVALID missing, unreadable, empty, or outside what the connection allows
   * @throws SOURCE_UNAVAILABLE it may work later
   */
  open(request: SourceRequest): Promise<SourceStream>;
}
