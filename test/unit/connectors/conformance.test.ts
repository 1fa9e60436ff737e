import { randomBytes } from 'node:crypto';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { SourceRequest, SourceStream, SourceUnchanged } from '../../../src/connectors/source.ts';
import { isFluxError } from '../../../src/errors.ts';
import { appendTo, type ConnectorBench, fileBench, httpsBench, s3Bench, sha256Of } from '../../support/connectors.ts';
import { findS3Server, noS3Server } from '../../support/s3-server.ts';

/** What every kind of source promises, held against a real system of each. */
const kinds: { kind: string; start: () => Promise<ConnectorBench | null>; missing: string }[] = [
  { kind: 'file', start: fileBench, missing: '' },
  { kind: 'https', start: httpsBench, missing: '' },
  {
    kind: 's3',
    start: () => {
      const program = findS3Server();
      return program === null ? Promise.resolve(null) : s3Bench(program);
    },
    missing: noS3Server,
  },
];

/** Every byte there is, and more than one block of any connector. */
const large = Buffer.concat([Buffer.from(Array.from({ length: 256 }, (_, i) => i)), randomBytes(3_000_000)]);

describe.each(kinds)('a source of kind $kind', ({ start, missing }) => {
  let found: ConnectorBench | null;
  beforeAll(async () => {
    found = await start();
  });
  afterAll(() => found?.close());

  const request = (bench: ConnectorBench, path: string, more: Partial<SourceRequest> = {}): SourceRequest => ({
    agency: 'test',
    connection: bench.connection,
    source: { path, format: { type: 'csv' } },
    signal: new AbortController().signal,
    ...more,
  });
  const needed = (skip: (note: string) => never): ConnectorBench => found ?? skip(missing);

  it('gives the exact bytes, a part at a time', async ({ skip }) => {
    const bench = needed(skip);
    await bench.put('large.csv', large);
    const { origin, bytes } = streamOf(await bench.connector.open(request(bench, 'large.csv')));
    const pieces = await readAll(bytes);
    expect(pieces.length).toBeGreaterThan(1);
    expect(sha256Of(Buffer.concat(pieces))).toBe(sha256Of(large));
    expect(origin).toContain('large.csv');
    for (const secret of bench.secrets) expect(origin).not.toContain(secret);
  });

  it('refuses what is not there, and what is empty', async ({ skip }) => {
    const bench = needed(skip);
    await bench.put('empty.csv', Buffer.alloc(0));
    expect(await failureOf(bench, request(bench, 'missing.csv'))).toMatchObject({ code: 'SOURCE_INVALID' });
    expect(await failureOf(bench, request(bench, 'empty.csv'))).toMatchObject({ code: 'SOURCE_INVALID' });
  });

  it('never leaves what the connection may read', async ({ skip }) => {
    const bench = needed(skip);
    for (const path of bench.escapes) {
      expect(await failureOf(bench, request(bench, path)), path).toMatchObject({ code: 'SOURCE_INVALID' });
    }
  });

  it('ends with the abort, whether it came before or while it reads', async ({ skip }) => {
    const bench = needed(skip);
    await bench.put('large.csv', large);
    const asked = new AbortController();
    const stream = streamOf(await bench.connector.open(request(bench, 'large.csv', { signal: asked.signal })));
    const reason = new Error('lease lost');
    await expect(
      (async () => {
        for await (const _piece of stream.bytes) asked.abort(reason);
      })(),
    ).rejects.toBe(reason);
    await expect(
      (async () =>
        readAll(streamOf(await bench.connector.open(request(bench, 'large.csv', { signal: asked.signal }))).bytes))(),
    ).rejects.toBe(reason);
  });

  it('never mixes two versions of a source', async ({ skip }) => {
    const bench = needed(skip);
    await bench.put('moving.csv', large);
    const change = (): Promise<void> => bench.put('moving.csv', Buffer.concat([Buffer.from('new'), large]));
    bench.breakAfter?.(1_000_000, change);
    const { bytes } = streamOf(await bench.connector.open(request(bench, 'moving.csv')));
    let first = true;
    const reading = (async () => {
      for await (const _piece of bytes) {
        if (first && !bench.breakAfter) await appendTo(bench, 'moving.csv');
        first = false;
      }
    })();
    await expect(reading).rejects.toMatchObject({ code: 'SOURCE_UNAVAILABLE' });
  });

  it('goes on where a connection broke off, and loses and repeats nothing', async ({ skip }) => {
    const bench = needed(skip);
    if (!bench.breakAfter) return;
    await bench.put('broken.csv', large);
    bench.breakAfter(1_000_000);
    const { bytes } = streamOf(await bench.connector.open(request(bench, 'broken.csv')));
    expect(sha256Of(Buffer.concat(await readAll(bytes)))).toBe(sha256Of(large));
  });

  it('sends nothing again that did not change, and everything that did', async ({ skip }) => {
    const bench = needed(skip);
    if (!bench.breakAfter) return;
    await bench.put('kept.csv', Buffer.from('a,b\n1,2\n'));
    const { origin, etag, bytes } = streamOf(await bench.connector.open(request(bench, 'kept.csv')));
    await readAll(bytes);
    expect(etag).toBeTruthy();
    const known = (asked: string) => Promise.resolve(asked === origin ? { etag: String(etag) } : null);
    expect(await bench.connector.open(request(bench, 'kept.csv', { known }))).toEqual({ origin, unchanged: true });
    await bench.put('kept.csv', Buffer.from('a,b\n1,3\n'));
    const again = streamOf(await bench.connector.open(request(bench, 'kept.csv', { known })));
    expect(Buffer.concat(await readAll(again.bytes)).toString()).toBe('a,b\n1,3\n');
  });

  it('stops at the size that the connection allows', async ({ skip }) => {
    const bench = needed(skip);
    if (!bench.limited) return;
    await bench.put('large.csv', large);
    const connection = bench.limited(large.length - 1);
    expect(await failureOf(bench, request(bench, 'large.csv', { connection }))).toMatchObject({
      code: 'SOURCE_INVALID',
    });
    const exact = streamOf(
      await bench.connector.open(request(bench, 'large.csv', { connection: bench.limited(large.length) })),
    );
    expect(Buffer.concat(await readAll(exact.bytes)).length).toBe(large.length);
  });

  it('tells no secret when it fails', async ({ skip }) => {
    const bench = needed(skip);
    const failure = await failureOf(bench, request(bench, 'missing.csv'));
    for (const secret of bench.secrets) expect(failure.message).not.toContain(secret);
  });
});

function streamOf(opened: SourceStream | SourceUnchanged): SourceStream {
  if ('unchanged' in opened) throw new Error('expected a stream, found that nothing changed');
  return opened;
}

async function readAll(bytes: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const pieces: Uint8Array[] = [];
  for await (const piece of bytes) pieces.push(Uint8Array.from(piece));
  return pieces;
}

async function failureOf(bench: ConnectorBench, request: SourceRequest): Promise<{ code: string; message: string }> {
  try {
    await readAll(streamOf(await bench.connector.open(request)).bytes);
  } catch (cause) {
    if (isFluxError(cause)) return cause;
    throw cause;
  }
  throw new Error(`expected a refusal of ${request.source.path}, found none`);
}
