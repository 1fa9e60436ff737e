import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';

import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { type Encoding, encodings, utf8Content } from '../../../src/etl/utf8-content.ts';
import { contractOf, definitionOf, type EtlBench, etlBench } from '../../support/etl.ts';

const contract = contractOf({ id: { type: 'integer' }, name: { type: 'string' } });

let bench: EtlBench;
beforeEach(async () => {
  bench = await etlBench();
});
afterEach(() => bench.remove());

async function run(bytes: Uint8Array, encoding: string, more: Record<string, unknown> = {}) {
  await bench.put('a.txt', bytes);
  return bench.run(definitionOf('a.txt', { type: 'csv', encoding, ...more }), contract);
}

async function decode(bytes: Uint8Array, encoding: Encoding, cuts: readonly number[] = []): Promise<string> {
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((one, other) => one - other), bytes.length];
  const pieces = places.slice(1).map((end, at) => bytes.subarray(places[at], end));
  const found: Uint8Array[] = [];
  for await (const piece of utf8Content(Readable.from(pieces), encoding)) found.push(piece);
  return Buffer.concat(found).toString('utf8');
}

const swapped = (text: string): Buffer => Buffer.from(text, 'utf16le').swap16();

describe('a source in a declared encoding', () => {
  test.each([
    ['utf-16le with a mark', 'utf-16le', Buffer.from('\ufeffid,name\r\n1,"Zoë, 😀"\r\n', 'utf16le'), 'Zoë, 😀'],
    ['utf-16le without one', 'utf-16le', Buffer.from('id,name\n1,ሴ\n', 'utf16le'), 'ሴ'],
    ['utf-16be', 'utf-16be', swapped('\ufeffid,name\n1,Zoë 😀\n'), 'Zoë 😀'],
    ['windows-1252', 'windows-1252', Buffer.from('id,name\n1,\x93Zo\xeb\x94 \x80\n', 'latin1'), '“Zoë” €'],
    ['iso-8859-1', 'iso-8859-1', Buffer.from('id,name\n1,Zo\xeb \xa4\n', 'latin1'), 'Zoë ¤'],
    ['iso-8859-15', 'iso-8859-15', Buffer.from('id,name\n1,Zo\xeb \xa4 \xbd\n', 'latin1'), 'Zoë € œ'],
    ['us-ascii', 'us-ascii', Buffer.from('id,name\n1,Zoe\n'), 'Zoe'],
  ])('%s is read as it was meant', async (_name, encoding, bytes, name) => {
    const { rows, plan } = await run(bytes, encoding);
    expect(rows).toEqual([['1', '1', name]]);
    expect(plan.recordsTotal).toBe(1);
  });

  test('is read when it is compressed as well', async () => {
    const { rows } = await run(gzipSync(Buffer.from('id,name\n1,ë\n', 'utf16le')), 'utf-16le', { compression: 'gzip' });
    expect(rows).toEqual([['1', '1', 'ë']]);
  });

  test('is read as NDJSON', async () => {
    await bench.put('a.json', Buffer.from('{"id":1,"name":"\xe9"}\n', 'latin1'));
    const definition = definitionOf('a.json', { type: 'ndjson', encoding: 'windows-1252' });
    expect((await bench.run(definition, contract)).rows).toEqual([['1', '1', 'é']]);
  });

  test.each([
    [
      'a byte that Windows-1252 leaves out',
      'windows-1252',
      Buffer.from('id,name\n1,\x81\n', 'latin1'),
      'byte 0x81 (byte 10)',
    ],
    ['more than ASCII', 'us-ascii', Buffer.from('id,name\n1,\xe9\n', 'latin1'), 'byte 0xe9 (byte 10)'],
    ['half a pair', 'utf-16le', Buffer.from('id,name\n1,\ud83d\n', 'utf16le'), 'half a surrogate pair (byte 20)'],
    ['half a pair at the end', 'utf-16le', Buffer.from('id,name\n1,\ud83d', 'utf16le'), 'that does not end (byte 20)'],
    [
      'an odd byte',
      'utf-16le',
      Buffer.from('id,name\n1,a\n', 'utf16le').subarray(0, -1),
      'that does not end (byte 22)',
    ],
    [
      'the other byte order',
      'utf-16be',
      Buffer.from('\ufeffid,name\n', 'utf16le'),
      'byte order mark of the other byte order',
    ],
  ])('with %s is refused at its place, and nothing becomes U+FFFD', async (_name, encoding, bytes, message) => {
    await expect(run(bytes, encoding)).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringContaining(message) as string,
    });
  });

  test('comes to the same text in whatever pieces', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: 'binary', maxLength: 60 }),
        fc.array(fc.nat(300), { maxLength: 6 }),
        async (text, cuts) => {
          fc.pre(!/^[\ufeff\ufffe]/.test(text));
          expect(await decode(Buffer.from(text, 'utf16le'), 'utf-16le', cuts)).toBe(text);
          expect(await decode(swapped(text), 'utf-16be', cuts)).toBe(text);
        },
      ),
      { numRuns: 200 },
    );
  });

  test('agrees with the platform’s own decoder for every byte that both define', async () => {
    const all = Uint8Array.from({ length: 256 }, (_each, at) => at);
    for (const encoding of ['windows-1252', 'iso-8859-15'] as const) {
      for (const byte of all) {
        const expected = new TextDecoder(encoding).decode(Uint8Array.of(byte));
        const found = await decode(Uint8Array.of(byte), encoding).catch(() => null);
        if (found !== null) expect(found, `${encoding} ${String(byte)}`).toBe(expected);
      }
    }
    expect(await decode(all, 'iso-8859-1')).toBe(String.fromCharCode(...all));
    expect(encodings).toHaveLength(6);
  });
});
