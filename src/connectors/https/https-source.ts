import type { IncomingMessage } from 'node:http';

import { invalidSource, unavailableSource } from '../refusals.ts';
import { type Pause, resumedBytes, tooLarge } from '../resumed-bytes.ts';
import type { SourceConnector, SourceRequest } from '../source.ts';
import { createHttpsClient, type HttpsAccess, type HttpsClient, isOwn, shownAddress } from './https-client.ts';
import { readPages } from './read-pages.ts';

export interface HttpsSourceOptions {
  /** Agency -> hosts whose private addresses, and whose plain http, its connections may reach (FLUX_SOURCE_PRIVATE_HOSTS). */
  privateHosts: Readonly<Record<string, readonly string[]>>;
  /** Further certificate authorities, PEM. */
  ca?: string | undefined;
  /** Milliseconds without a byte after which an answer counts as broken; 60 s by default. */
  silenceMs?: number;
  pause?: Pause;
}

const maxBytesDefault = 10 * 2 ** 30;
const timeoutSecondsDefault = 3_600;
const silenceMsDefault = 60_000;

/**
 * What a web server has below the base address of a connection: one resource with its exact bytes, or a JSON list in pages. A
 * resource that breaks off is resumed by range, from the same version alone; one that did not change since it was pinned (ETag)
 * is not sent again.
 */
export function createHttpsSource(options: HttpsSourceOptions): SourceConnector {
  return {
    async open(request) {
      const access = accessOf(request);
      const url = addressOf(request, access);
      const { byteCountMax, timeoutMs } = limitsOf(request.connection.config);
      const late = AbortSignal.timeout(timeoutMs);
      const signal = AbortSignal.any([request.signal, late]);
      const policy = {
        privateHosts: options.privateHosts[request.agency] ?? [],
        ca: options.ca,
        silenceMs: options.silenceMs ?? silenceMsDefault,
      };
      const paused = options.pause ? { pause: options.pause } : {};
      const client = createHttpsClient(access, { policy, signal, ...paused });
      const origin = shownAddress(url, access);
      const timely = <T>(work: () => Promise<T>): Promise<T> =>
        work().catch((cause: unknown) => {
          request.signal.throwIfAborted();
          if (!late.aborted) throw cause;
          throw unavailableSource(
            `${origin} took longer than ${String(timeoutMs / 1_000)} s (config.timeoutSeconds).`,
            cause,
          );
        });
      const { pages, format } = request.source;
      if (pages) {
        const recordPath = typeof format['recordPath'] === 'string' ? format['recordPath'] : '';
        const bytes = readPages(url, { pages, recordPath, access, client, byteCountMax });
        return { origin, modifiedAt: null, bytes: eachTimely(bytes, timely) };
      }
      const known = (await request.known?.(origin)) ?? null;
      const answer = await timely(() => ask(client, url, known === null ? {} : { 'if-none-match': known.etag }));
      if (answer.statusCode === 304 && known !== null) {
        answer.destroy();
        return { origin, unchanged: true };
      }
      const validator = validatorOf(answer);
      const byteCount = lengthOf(answer, { origin, byteCountMax, compression: format['compression'] });
      const bytes = resumedBytes(
        {
          origin,
          first: answer,
          byteCount,
          resume: validator === null ? null : (from) => rest(client, url, { from, origin, validator }),
        },
        { byteCountMax, signal, ...paused },
      );
      return {
        origin,
        modifiedAt: dateOf(answer.headers['last-modified']),
        etag: answer.headers.etag ?? null,
        bytes: eachTimely(bytes, timely),
      };
    },
  };
}

async function ask(client: HttpsClient, url: URL, headers: Readonly<Record<string, string>>): Promise<IncomingMessage> {
  const { answer } = await client.get(url, headers);
  if (answer.statusCode !== 200 && !(answer.statusCode === 304 && headers['if-none-match'] !== undefined)) {
    answer.destroy();
    throw invalidSource(`${url.origin}${url.pathname} answers ${String(answer.statusCode)}, expected 200.`);
  }
  return answer;
}

/** The rest of the version that was begun. @throws SOURCE_UNAVAILABLE it is another one now */
async function rest(
  client: HttpsClient,
  url: URL,
  { from, origin, validator }: { from: number; origin: string; validator: string },
): Promise<AsyncIterable<Uint8Array>> {
  const { answer } = await client.get(url, { range: `bytes=${String(from)}-`, 'if-range': validator });
  const range = /^bytes (\d+)-\d+\/(?:\d+|\*)$/.exec(answer.headers['content-range'] ?? '');
  if (answer.statusCode === 206 && Number(range?.[1]) === from) return answer;
  answer.destroy();
  throw unavailableSource(
    answer.statusCode === 200
      ? `${origin} changed while it was read. Flux tries again from the beginning.`
      : `${origin} answers ${String(answer.statusCode)} where the rest from byte ${String(from)} was asked for. Flux tries again.`,
  );
}

/** What names this version for If-Range (RFC 9110, 13.1.5): a strong ETag, or a date; null where it cannot be named. */
function validatorOf({ headers }: IncomingMessage): string | null {
  if (headers['accept-ranges']?.trim() === 'none') return null;
  if (headers.etag !== undefined) return headers.etag.startsWith('"') ? headers.etag : null;
  return headers['last-modified'] ?? null;
}

function lengthOf(
  { headers }: IncomingMessage,
  { origin, byteCountMax, compression }: { origin: string; byteCountMax: number; compression: unknown },
): number | null {
  const encoding = headers['content-encoding']?.trim().toLowerCase() ?? 'identity';
  if (encoding !== 'identity' && encoding.replace(/^x-/, '') !== compression) {
    throw invalidSource(
      `${origin} comes encoded as ${encoding}, though its bytes as they are were asked for. Say so in source.format.compression.`,
    );
  }
  const length = headers['content-length'];
  if (length === undefined) {
    if (headers['transfer-encoding']?.toLowerCase().includes('chunked') === true) return null;
    throw invalidSource(`${origin} says neither how long it is nor where it ends, so that a cut would not be noticed.`);
  }
  const byteCount = Number(length);
  if (byteCount > byteCountMax) throw tooLarge(origin, byteCountMax);
  return byteCount;
}

function dateOf(header: string | undefined): Date | null {
  const at = header === undefined ? Number.NaN : Date.parse(header);
  return Number.isNaN(at) ? null : new Date(at);
}

async function* eachTimely(
  bytes: AsyncGenerator<Uint8Array, void, undefined>,
  timely: <T>(work: () => Promise<T>) => Promise<T>,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for (;;) {
      const step = await timely(() => bytes.next());
      if (step.done === true) return;
      yield step.value;
    }
  } finally {
    await bytes.return();
  }
}

function accessOf({ connection: { name, config, secret } }: SourceRequest): HttpsAccess {
  const base = new URL(String(config['baseUrl']));
  if (!base.pathname.endsWith('/')) base.pathname += '/';
  return {
    connection: name,
    base,
    redirectHosts: (config['redirectHosts'] as string[] | undefined) ?? [],
    headers: headersOf(name, config['headers']),
    secretHeaders: headersOf(name, secret?.['headers']),
    secretQuery: textsOf(secret?.['query']),
  };
}

/** What decides how an answer is read is not a connection's to say. */
const ownHeaders =
  /^(host|connection|content-length|transfer-encoding|upgrade|te|trailer|expect|range|accept-encoding|if-.*|proxy-.*)$/;

function headersOf(connection: string, value: unknown): Record<string, string> {
  const headers = Object.entries(textsOf(value)).map(([name, text]) => [name.toLowerCase(), text] as const);
  const [own] = headers.find(([name]) => ownHeaders.test(name)) ?? [];
  if (own !== undefined)
    throw invalidSource(`The header ${own} of connection "${connection}" is Flux's own to set. Take it out.`);
  return Object.fromEntries(headers);
}

function textsOf(value: unknown): Record<string, string> {
  return { ...(value as Record<string, string> | undefined) };
}

function limitsOf(config: Readonly<Record<string, unknown>>): { byteCountMax: number; timeoutMs: number } {
  const { maxBytes, timeoutSeconds } = config;
  return {
    byteCountMax: typeof maxBytes === 'number' ? maxBytes : maxBytesDefault,
    timeoutMs: (typeof timeoutSeconds === 'number' ? timeoutSeconds : timeoutSecondsDefault) * 1_000,
  };
}

/** Parsing undoes `%2e%2e` and its like, so what counts is where the parsed address leads. */
function addressOf({ source: { path } }: SourceRequest, access: HttpsAccess): URL {
  const url = URL.canParse(path, access.base) ? new URL(path, access.base) : null;
  // Some servers undo these late, and climb with them.
  const hidden = /%(2f|5c|00)/i.test(path);
  if (hidden || url === null || !isOwn(url, access) || url.username !== '' || url.password !== '' || url.hash !== '') {
    throw invalidSource(
      `Expected a path below the base of connection "${access.connection}", found "${path}". Use one like data/list.csv?year=2026.`,
    );
  }
  return url;
}
