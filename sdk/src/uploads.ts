import type { Client } from './client.ts';
import { FluxError, fromWire, unavailable } from './errors.ts';
import { mayPass } from './http.ts';
import { backoffMs, wait } from './wait.ts';

/** A file that the API has, or is getting. */
export interface Upload {
  /** What a pipeline’s `source` says to read it: `upload://name`. */
  readonly source: string;
  readonly status: 'OPEN' | 'COMPLETE';
  /** Bytes of the whole. */
  readonly byteCount: number;
  /** Bytes that the API has. */
  readonly received: number;
  /** Of the whole once it is there, in hexadecimal digits. */
  readonly sha256: string | null;
}

export interface UploadOptions {
  /**
   * What the whole must be, in hexadecimal digits: the API refuses anything else. With it an upload that was broken off goes on where it
   * stands, also one of another process; without it every call begins at the first byte.
   */
  sha256?: string;
  /** Bytes of one request, of which the API lets each take 30 seconds; 8 MiB if absent. */
  pieceBytes?: number;
  /** Called with the bytes that the API has, after each piece. */
  onProgress?: (received: number, byteCount: number) => void;
  signal?: AbortSignal;
}

const usualPieceBytes = 8 * 1024 * 1024;
/** Requests in a row that may bring the upload no further. */
const vainMax = 6;

/**
 * Sends a file that runs can read as `upload://name`: in pieces, each of which goes on where the API stands, so that a broken connection or
 * an API that restarts costs one piece at most. Needs the scope `run:write`.
 *
 * @param content anything with a size and slices: a page’s `File`, or `await openAsBlob(path)` of node:fs
 * @throws FluxError INVALID_INPUT the name, an empty file, or bytes that are not what `sha256` says; UNAVAILABLE it came no further
 */
export async function putUpload(
  client: Pick<Client, 'settings'>,
  name: string,
  content: Blob,
  options: UploadOptions = {},
): Promise<Upload> {
  const { sha256, signal, pieceBytes = usualPieceBytes } = options;
  // Asked in any case: who may not send hears it here, and not in the midst of a body that nobody reads.
  const stands = await stateOf(client, name, signal);
  const known = sha256 !== undefined && stands?.byteCount === content.size ? stands : null;
  if (known?.sha256 === sha256 && known) return known;
  let at = known?.status === 'OPEN' ? known.received : 0;
  // What is already there may be of another file of that size: its end tells, and then all of it is sent.
  let resumed = at > 0;
  for (let vain = 0; ;) {
    signal?.throwIfAborted();
    try {
      const piece = { content, at, end: Math.min(at + pieceBytes, content.size), sha256 };
      const upload = await putPiece(client, name, piece, signal);
      options.onProgress?.(upload.received, upload.byteCount);
      if (upload.status === 'COMPLETE') return upload;
      vain = upload.received > at ? 0 : vain + 1;
      at = upload.received;
    } catch (cause) {
      signal?.throwIfAborted();
      if (!(cause instanceof FluxError)) throw cause;
      if (resumed && cause.code === 'INVALID_INPUT') {
        resumed = false;
        at = 0;
        continue;
      }
      if (!mayPass(cause) || vain >= vainMax) throw cause;
      vain += 1;
      await wait(backoffMs(vain), signal);
      const now = await stateOf(client, name, signal).catch(() => undefined);
      if (now === undefined) continue;
      if (now?.status === 'COMPLETE' && sha256 !== undefined && now.sha256 === sha256) return now;
      const goesOn = now?.status === 'OPEN' && now.byteCount === content.size ? now.received : 0;
      if (goesOn > at) vain = 0;
      at = goesOn;
    }
  }
}

/** Where an upload stands; null where there is none of that name. @throws FluxError */
export async function stateOf(
  client: Pick<Client, 'settings'>,
  name: string,
  signal?: AbortSignal,
): Promise<Upload | null> {
  const response = await send(client, name, { method: 'HEAD' }, signal);
  if (response.status === 404) return null;
  if (!response.ok)
    throw fromWire({ message: `The API answers ${String(response.status)} to ${name}.` }, response.status);
  const { headers } = response;
  const digest = /sha-256=:([^:]+):/.exec(headers.get('repr-digest') ?? '')?.[1];
  return {
    source: `upload://${name}`,
    status: headers.get('upload-complete') === '?1' ? 'COMPLETE' : 'OPEN',
    byteCount: Number(headers.get('upload-length')),
    received: Number(headers.get('upload-offset')),
    sha256: digest === undefined ? null : hexOf(digest),
  };
}

interface Piece {
  content: Blob;
  at: number;
  end: number;
  sha256: string | undefined;
}

async function putPiece(
  client: Pick<Client, 'settings'>,
  name: string,
  { content, at, end, sha256 }: Piece,
  signal: AbortSignal | undefined,
): Promise<Upload> {
  const headers: Record<string, string> = { 'content-type': 'application/octet-stream' };
  if (at > 0 || end < content.size)
    headers['content-range'] = `bytes ${String(at)}-${String(end - 1)}/${String(content.size)}`;
  if (sha256 !== undefined) headers['repr-digest'] = `sha-256=:${base64Of(sha256)}:`;
  const response = await send(client, name, { method: 'PUT', headers, body: content.slice(at, end) }, signal);
  const answer = (await response.json().catch(() => undefined)) as Record<string, unknown> | undefined;
  const { detail, source, status, byteCount, received, sha256: whole, ...extensions } = answer ?? {};
  const message = typeof detail === 'string' ? detail : `The API answers ${String(response.status)} to ${name}.`;
  // It goes on at another place, which is asked for.
  if (response.status === 409) throw unavailable(message);
  if (!response.ok) throw fromWire({ message, extensions }, response.status);
  return {
    source: String(source),
    status: status === 'COMPLETE' ? 'COMPLETE' : 'OPEN',
    byteCount: Number(byteCount),
    received: Number(received),
    sha256: typeof whole === 'string' ? whole : null,
  };
}

/** One request, once more with another token where the first is refused. @throws UNAVAILABLE nothing answers */
async function send(
  { settings }: Pick<Client, 'settings'>,
  name: string,
  init: RequestInit,
  signal: AbortSignal | undefined,
): Promise<Response> {
  const url = new URL(`/v1/uploads/${encodeURIComponent(name)}`, settings.endpoint).href;
  for (let refused = false; ; refused = true) {
    const token = await settings.token.current();
    const timeout = AbortSignal.timeout(settings.requestTimeoutMs);
    let response: Response;
    try {
      response = await settings.fetch(url, {
        ...init,
        headers: { ...(init.headers as Record<string, string>), authorization: `Bearer ${token}` },
        signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      });
    } catch (cause) {
      throw unavailable(`No Flux API takes ${name} at ${new URL(url).origin}.`, cause);
    }
    if (response.status !== 401 || refused) return response;
    await settings.token.replace(token);
  }
}

function base64Of(hex: string): string {
  return btoa(String.fromCharCode(...(hex.match(/../g) ?? []).map((pair) => Number.parseInt(pair, 16))));
}

function hexOf(base64: string): string {
  return Array.from(atob(base64), (letter) => letter.charCodeAt(0).toString(16).padStart(2, '0')).join('');
}
