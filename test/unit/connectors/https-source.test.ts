import type { ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { nextLink } from '../../../src/connectors/https/read-pages.ts';
import { createHttpsSource, type HttpsSourceOptions } from '../../../src/connectors/https/https-source.ts';
import { retryAfterMs } from '../../../src/connectors/https/https-client.ts';
import type { SourcePages, SourceStream } from '../../../src/connectors/source.ts';
import { createAuthority } from '../../support/certificates.ts';
import { contractOf, definitionOf, etlBench } from '../../support/etl.ts';
import { startWebServer, type WebServer } from '../../support/web-server.ts';

let server: WebServer;
let other: WebServer;
const waits: number[] = [];
beforeAll(async () => {
  [server, other] = await Promise.all([startWebServer(), startWebServer()]);
});
afterAll(() => Promise.all([server.close(), other.close()]));

interface Asked {
  config?: Record<string, unknown>;
  secret?: Record<string, unknown>;
  pages?: SourcePages;
  recordPath?: string;
  compression?: string;
  options?: Partial<HttpsSourceOptions>;
}

async function open(
  path: string,
  { config, secret, pages, recordPath, compression, options }: Asked = {},
): Promise<SourceStream> {
  const connector = createHttpsSource({
    privateHosts: { test: ['127.0.0.1'] },
    pause: (ms) => {
      waits.push(ms);
      return Promise.resolve();
    },
    ...options,
  });
  return (await connector.open({
    agency: 'test',
    connection: { name: 'web', kind: 'https', config: { baseUrl: server.url, ...config }, secret: secret ?? null },
    source: {
      path,
      format: {
        type: 'json',
        ...(recordPath === undefined ? {} : { recordPath }),
        ...(compression === undefined ? {} : { compression }),
      },
      ...(pages ? { pages } : {}),
    },
    signal: new AbortController().signal,
  })) as SourceStream;
}

async function textOf(path: string, asked: Asked = {}): Promise<string> {
  const pieces: Uint8Array[] = [];
  for await (const piece of (await open(path, asked)).bytes) pieces.push(Uint8Array.from(piece));
  return Buffer.concat(pieces).toString('utf8');
}

const invalid = (text: RegExp) =>
  expect.objectContaining({ code: 'SOURCE_INVALID', message: expect.stringMatching(text) as string }) as unknown;
const unavailable = (text: RegExp) =>
  expect.objectContaining({ code: 'SOURCE_UNAVAILABLE', message: expect.stringMatching(text) as string }) as unknown;
const redirect = (to: string) => (_request: unknown, response: ServerResponse) =>
  void response.writeHead(302, { location: to }).end();

describe('where an https connection may lead', () => {
  it.each([
    ['an address of this machine', 'http://127.0.0.1:1/'],
    ['an address of this machine as a number', 'https://2130706433/'],
    ['a private address', 'https://10.0.0.1/'],
    ['the cloud’s metadata', 'https://169.254.169.254/'],
    ['loopback of IPv6', 'https://[::1]/'],
    ['IPv4 inside IPv6', 'https://[::ffff:127.0.0.1]/'],
    ['a name that leads to this machine', 'https://localhost/'],
  ])('not to %s', async (_what, baseUrl) => {
    await expect(textOf('x', { config: { baseUrl }, options: { privateHosts: {} } })).rejects.toEqual(
      invalid(/must not be reached|no https address/),
    );
  });

  it('not to hosts that are another agency’s', async () => {
    await expect(textOf('x', { options: { privateHosts: { other: ['127.0.0.1'] } } })).rejects.toEqual(
      invalid(/no https address/),
    );
  });

  it('follows redirects on its own host and on those that it names, and takes secrets to neither', async () => {
    server.put('there.json', Buffer.from('[1]'));
    server.on('moved.json', redirect('/there.json'));
    expect(await textOf('moved.json')).toBe('[1]');

    other.put('elsewhere.json', Buffer.from('[2]'));
    server.on('away.json', redirect(`${other.url}elsewhere.json`));
    await expect(textOf('away.json')).rejects.toEqual(invalid(/redirects to 127.0.0.1.*redirectHosts/));
    const secret = { headers: { Authorization: 'Bearer s3cr3t' }, query: { api_key: 's3cr3t' } };
    server.requests.length = 0;
    expect(await textOf('away.json', { config: { redirectHosts: ['127.0.0.1'] }, secret })).toBe('[2]');
    expect(server.requests[0]).toMatchObject({
      url: '/away.json?api_key=s3cr3t',
      headers: { authorization: 'Bearer s3cr3t' },
    });
    expect(JSON.stringify(other.requests)).not.toContain('s3cr3t');
  });

  it('checks each redirect again: none to what is private, none in a circle', async () => {
    server.on('inside.json', redirect('http://localhost:1/secret'));
    await expect(textOf('inside.json', { config: { redirectHosts: ['localhost'] } })).rejects.toEqual(
      invalid(/no https address/),
    );
    server.on('circle.json', redirect('/circle.json'));
    await expect(textOf('circle.json')).rejects.toEqual(invalid(/more than 5 times/));
  });

  it('checks certificates, and never falls back from https to http', async () => {
    const authority = await createAuthority('sources');
    const { cert, key } = await authority.issue({ ip: '127.0.0.1' });
    const secure = createTlsServer({ cert, key }, (request, response) => {
      if (request.url === '/down') response.writeHead(302, { location: `${server.url}there.json` }).end();
      else response.end('[3]');
    });
    await new Promise<void>((resolve) => secure.listen(0, '127.0.0.1', resolve));
    try {
      const config = {
        baseUrl: `https://127.0.0.1:${String((secure.address() as AddressInfo).port)}/`,
        redirectHosts: ['127.0.0.1'],
      };
      await expect(textOf('x', { config })).rejects.toEqual(unavailable(/does not answer/));
      expect(await textOf('x', { config, options: { ca: authority.ca } })).toBe('[3]');
      await expect(textOf('down', { config, options: { ca: authority.ca } })).rejects.toEqual(
        invalid(/from https to http/),
      );
    } finally {
      secure.closeAllConnections();
      await new Promise((resolve) => secure.close(resolve));
    }
  });

  it('sets no header that decides how an answer is read', async () => {
    await expect(textOf('x', { config: { headers: { HOST: 'elsewhere' } } })).rejects.toEqual(
      invalid(/Flux's own to set/),
    );
  });
});

describe('an answer', () => {
  it('that asks to wait is waited for, as often as it names a time, up to a quarter of an hour', async () => {
    let left = 6;
    server.on('busy.json', (_request, response) => {
      left -= 1;
      if (left >= 0) response.writeHead(429, { 'retry-after': '7' }).end();
      else response.end('[4]');
    });
    waits.length = 0;
    expect(await textOf('busy.json')).toBe('[4]');
    expect(waits).toEqual([7_000, 7_000, 7_000, 7_000, 7_000, 7_000]);
    server.on('later.json', (_request, response) => void response.writeHead(503, { 'retry-after': '86400' }).end());
    await expect(textOf('later.json')).rejects.toEqual(unavailable(/asks to wait 86400 s/));
  });

  it('that fails is asked for a few times more', async () => {
    let count = 0;
    server.on('failing.json', (_request, response) => {
      count += 1;
      response.writeHead(502).end();
    });
    await expect(textOf('failing.json')).rejects.toEqual(unavailable(/answers 502/));
    expect(count).toBe(4);
  });

  it('that refuses the caller says what to do', async () => {
    server.on('closed.json', (_request, response) => void response.writeHead(403).end());
    await expect(textOf('closed.json')).rejects.toEqual(invalid(/Give connection "web" a secret/));
  });

  it('whose end could not be told from a cut is refused', async () => {
    server.on('endless.json', (request, response) => {
      response.useChunkedEncodingByDefault = false;
      response.shouldKeepAlive = false;
      response.removeHeader('transfer-encoding');
      request.socket.end('HTTP/1.0 200 OK\r\n\r\n[1');
    });
    await expect(textOf('endless.json')).rejects.toEqual(invalid(/neither how long it is/));
  });

  it('that comes encoded is refused, unless the format says so', async () => {
    const body = gzipSync('[5]');
    server.on(
      'encoded.json',
      (_request, response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end(body),
    );
    await expect(textOf('encoded.json')).rejects.toEqual(invalid(/comes encoded as gzip/));
    const { bytes } = await open('encoded.json', { compression: 'gzip' });
    for await (const piece of bytes) expect(Buffer.from(piece).equals(body)).toBe(true);
  });

  it('that falls silent, or never ends, is left', async () => {
    server.on(
      'silent.json',
      (_request, response) => void response.writeHead(200, { 'content-length': '10' }).write('['),
    );
    await expect(textOf('silent.json', { options: { silenceMs: 500 } })).rejects.toEqual(
      unavailable(/broke off|does not answer/),
    );
    await expect(textOf('silent.json', { config: { timeoutSeconds: 0.05 } })).rejects.toEqual(
      unavailable(/took longer than/),
    );
  });

  it.each([
    ['120', 120_000],
    ['Tue, 03 Mar 2026 10:00:30 GMT', 30_000],
    ['Tue, 03 Mar 2026 09:00:00 GMT', 0],
    ['soon', null],
    [undefined, null],
  ])('with Retry-After %s waits %s ms', (header, ms) => {
    expect(retryAfterMs(header, Date.parse('2026-03-03T10:00:00Z'))).toBe(ms);
  });
});

describe('a list in pages', () => {
  const page = (items: number[], more: object = {}): string =>
    JSON.stringify({ items: items.map((id) => ({ id })), ...more });
  /** Three pages, by whatever names the page that is asked for. */
  const pageOf = (
    name: string,
    moreOf: (no: number) => object,
    headersOf: (no: number) => Record<string, string> = () => ({}),
  ): void =>
    server.on(name, (request, response) => {
      const asked = new URL(request.url ?? '', server.url).searchParams;
      const no = Number(asked.get('page') ?? asked.get('after') ?? '1');
      const items = [[1, 2], [3], [4, 5]][no - 1] ?? [];
      response.writeHead(200, { 'content-type': 'application/json', ...headersOf(no) }).end(page(items, moreOf(no)));
    });
  const ids = async (path: string, pages: SourcePages): Promise<number[]> => {
    const document = JSON.parse(await textOf(path, { pages, recordPath: '/items' })) as { items: { id: number }[] }[];
    return document.flatMap(({ items }) => items.map(({ id }) => id));
  };

  it('goes on by the link of a header', async () => {
    pageOf(
      'header',
      () => ({}),
      (no) => (no < 3 ? { link: `</first>; rel="first", </header?page=${String(no + 1)}>; rel="next"` } : {}),
    );
    expect(await ids('header', { type: 'link-header' })).toEqual([1, 2, 3, 4, 5]);
  });

  it('goes on by a link in the page', async () => {
    pageOf('link', (no) => ({ links: { next: no < 3 ? `link?page=${String(no + 1)}` : null } }));
    expect(await ids('link', { type: 'next-link', pointer: '/links/next' })).toEqual([1, 2, 3, 4, 5]);
  });

  it('goes on by a cursor, with the secret parameter and the filter on every page', async () => {
    pageOf('cursor', (no) => ({ meta: no < 3 ? { next: no + 1 } : {} }));
    server.requests.length = 0;
    const pages: SourcePages = { type: 'cursor', pointer: '/meta/next', parameter: 'after' };
    await textOf('cursor?year=2026', { pages, secret: { query: { key: 's' } } });
    expect(server.requests.map(({ url }) => url)).toEqual([
      '/cursor?year=2026&key=s',
      '/cursor?year=2026&after=2&key=s',
      '/cursor?year=2026&after=3&key=s',
    ]);
  });

  it('goes on by page numbers until a page is empty', async () => {
    pageOf('number', () => ({}));
    expect(await ids('number', { type: 'page-number', parameter: 'page' })).toEqual([1, 2, 3, 4, 5]);
  });

  it('that leads in a circle, elsewhere, or too far fails', async () => {
    server.on('circular', (_request, response) => void response.end(page([1], { next: '/circular' })));
    await expect(textOf('circular', { pages: { type: 'next-link', pointer: '/next' } })).rejects.toEqual(
      invalid(/was read before/),
    );
    server.on('leaving', (_request, response) => void response.end(page([1], { next: `${other.url}x` })));
    await expect(textOf('leaving', { pages: { type: 'next-link', pointer: '/next' } })).rejects.toEqual(
      invalid(/outside the base/),
    );
    await expect(
      textOf('number', { pages: { type: 'page-number', parameter: 'page', maxPages: 2 }, recordPath: '/items' }),
    ).rejects.toEqual(invalid(/Raise source.pages.maxPages/));
  });

  it('with a page that is no JSON, no UTF-8, or has no records where they should be fails', async () => {
    const pages: SourcePages = { type: 'page-number', parameter: 'page' };
    server.on('broken', (_request, response) => void response.end('{"items": ['));
    await expect(textOf('broken', { pages, recordPath: '/items' })).rejects.toEqual(invalid(/no JSON in UTF-8/));
    server.on('latin', (_request, response) => void response.end(Buffer.from('{"items": ["\xe9"]}', 'latin1')));
    await expect(textOf('latin', { pages, recordPath: '/items' })).rejects.toEqual(invalid(/no JSON in UTF-8/));
    server.on('bare', (_request, response) => void response.end('{}'));
    await expect(textOf('bare', { pages, recordPath: '/items' })).rejects.toEqual(invalid(/no array of records/));
  });

  it('is read as one list, with numbers as they were written', async () => {
    server.on('exact', (request, response) => {
      const no = Number(new URL(request.url ?? '', server.url).searchParams.get('page'));
      response.end(
        no === 1
          ? '\ufeff{"items": [{"id": 9007199254740993}, {"id": "x"}]}'
          : no === 2
            ? '{"items": [{"id": 2}] }'
            : '{"items": []}',
      );
    });
    const bench = await etlBench({ sourcePrivateHosts: { test: ['127.0.0.1'] } });
    try {
      const connection = { name: 'web', kind: 'https', config: { baseUrl: server.url } };
      const definition = definitionOf('exact', { type: 'json', recordPath: '/items' });
      definition.source.pages = { type: 'page-number', parameter: 'page' };
      const result = await bench.run(definition, contractOf({ id: { type: 'integer' } }), connection);
      expect(result.plan.recordsTotal).toBe(3);
      expect(result.rows).toEqual([
        ['1', '9007199254740993'],
        ['3', '2'],
      ]);
      expect(result.rejected).toMatchObject([{ recordNo: 2, raw: '{"id":"x"}' }]);
    } finally {
      await bench.remove();
    }
  });

  it.each([
    ['<https://a.example/?p=2>; rel="next"', 'https://a.example/?p=2'],
    ['<a>; rel=prev, <b>; title="x, y"; rel="last next"', 'b'],
    ['<a,b>; rel=next', 'a,b'],
    ['<a>; rel="prev"', undefined],
    [undefined, undefined],
  ])('finds in the header %s the link %s', (header, link) => expect(nextLink(header)).toBe(link));
});
