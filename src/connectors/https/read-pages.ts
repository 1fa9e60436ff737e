import type { IncomingMessage } from 'node:http';

import { invalidSource } from '../refusals.ts';
import type { SourcePages } from '../source.ts';
import { tooLarge } from '../resumed-bytes.ts';
import { type HttpsAccess, type HttpsClient, isOwn, shownAddress } from './https-client.ts';

const pagesMaxDefault = 10_000;
/** One page is parsed in memory. */
const pageBytesMax = 64 * 2 ** 20;

/**
 * Reads a JSON list page by page and gives one JSON document: the array of the pages, each with its exact bytes. Ends where the
 * server names no next page, or, by page numbers, where a page has no record. A next page is on the connection's own base.
 *
 * @throws SOURCE_INVALID a page is no JSON, names a page that was read before, leads elsewhere, or there are too many
 */
export async function* readPages(
  first: URL,
  {
    pages,
    recordPath,
    access,
    client,
    byteCountMax,
  }: { pages: SourcePages; recordPath: string; access: HttpsAccess; client: HttpsClient; byteCountMax: number },
): AsyncGenerator<Uint8Array, void, undefined> {
  const seen = new Set<string>();
  const pagesMax = pages.maxPages ?? pagesMaxDefault;
  let byteCount = 0;
  let url: URL | null = pages.type === 'page-number' ? numbered(first, pages, 0) : first;
  for (let count = 0; url !== null; count += 1) {
    const shown = shownAddress(url, access);
    if (seen.has(url.href)) throw invalidSource(`${shown} is named as the next page, and was read before.`);
    if (count === pagesMax) {
      throw invalidSource(
        `${shown} would be page ${String(count + 1)} of at most ${String(pagesMax)}. Raise source.pages.maxPages.`,
      );
    }
    seen.add(url.href);
    const { answer } = await client.get(url, { accept: 'application/json' });
    const page = await readPage(answer, shown);
    byteCount += page.bytes.length;
    if (byteCount > byteCountMax) throw tooLarge(shown, byteCountMax);
    yield Buffer.from(count === 0 ? '[\n' : ',\n');
    yield page.bytes;
    url = nextOf(url, { page: page.value, answer, pages, recordPath, count, first, shown });
    if (url !== null && !isOwn(url, access)) {
      throw invalidSource(
        `${shown} names a next page on ${url.origin}${url.pathname}, outside the base of connection "${access.connection}".`,
      );
    }
  }
  yield Buffer.from('\n]\n');
}

async function readPage(answer: IncomingMessage, shown: string): Promise<{ bytes: Buffer; value: unknown }> {
  const pieces: Buffer[] = [];
  let byteCount = 0;
  for await (const piece of answer as AsyncIterable<Buffer>) {
    byteCount += piece.length;
    if (byteCount > pageBytesMax)
      throw invalidSource(`${shown} is a page of more than ${String(pageBytesMax)} bytes. Ask for smaller ones.`);
    pieces.push(piece);
  }
  const whole = Buffer.concat(pieces);
  // RFC 8259: a parser may pass over a byte order mark; inside the document of all pages it would be an error.
  const bytes = whole.subarray(0, 3).equals(Buffer.from([0xef, 0xbb, 0xbf])) ? whole.subarray(3) : whole;
  try {
    return {
      bytes,
      value: JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)) as unknown,
    };
  } catch (cause) {
    throw invalidSource(`${shown} is no JSON in UTF-8 (${(cause as Error).message.slice(0, 200)}).`, cause);
  }
}

interface Turn {
  page: unknown;
  answer: IncomingMessage;
  pages: SourcePages;
  recordPath: string;
  count: number;
  first: URL;
  shown: string;
}

function nextOf(url: URL, turn: Turn): URL | null {
  const { page, answer, pages, count, first, shown } = turn;
  switch (pages.type) {
    case 'link-header':
      return address(nextLink(answer.headers['link']), url, shown);
    case 'next-link':
      return address(at(page, pages.pointer), url, shown);
    case 'cursor': {
      const cursor = at(page, pages.pointer);
      if (isEnd(cursor)) return null;
      if (typeof cursor !== 'string' && typeof cursor !== 'number') {
        throw invalidSource(`${shown} has at ${pages.pointer} what is no cursor.`);
      }
      const next = new URL(first);
      next.searchParams.set(pages.parameter, String(cursor));
      return next;
    }
    case 'page-number':
      return recordCount(page, turn) === 0 ? null : numbered(first, pages, count + 1);
  }
}

function numbered(first: URL, pages: SourcePages & { type: 'page-number' }, count: number): URL {
  const url = new URL(first);
  url.searchParams.set(pages.parameter, String((pages.first ?? 1) + count));
  return url;
}

function recordCount(page: unknown, { recordPath, shown }: Turn): number {
  const records = at(page, recordPath);
  if (Array.isArray(records)) return records.length;
  throw invalidSource(`${shown} has no array of records at "${recordPath}". Correct source.format.recordPath.`);
}

function address(value: unknown, url: URL, shown: string): URL | null {
  if (isEnd(value)) return null;
  if (typeof value === 'string' && URL.canParse(value, url)) return new URL(value, url);
  throw invalidSource(`${shown} names a next page that is no address.`);
}

function isEnd(value: unknown): boolean {
  return value === undefined || value === null || value === '' || value === false;
}

/** RFC 6901. */
function at(document: unknown, pointer: string): unknown {
  let value = document;
  for (const token of pointer.split('/').slice(1)) {
    const key = token.replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Record<string, unknown>)[key];
  }
  return value;
}

/** The target of `rel="next"` in a Link header (RFC 8288). */
export function nextLink(header: string | string[] | undefined): string | undefined {
  const text = Array.isArray(header) ? header.join(', ') : (header ?? '');
  for (const [, target, parameters = ''] of text.matchAll(
    /<([^<>]*)>((?:\s*;\s*[\w!#$&+.^`|~*-]+\s*(?:=\s*(?:"[^"]*"|[^",;\s]+))?)*)/g,
  )) {
    const rel = /;\s*rel\s*=\s*(?:"([^"]*)"|([^",;\s]+))/i.exec(parameters);
    if ((rel?.[1] ?? rel?.[2] ?? '').toLowerCase().split(/\s+/).includes('next')) return target;
  }
  return undefined;
}
