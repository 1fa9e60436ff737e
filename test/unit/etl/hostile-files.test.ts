import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { contractOf, definitionOf, type EtlBench, etlBench } from '../../support/etl.ts';

/** Of the largest files; a gigabyte is asked for with FLUX_HOSTILE_MEGABYTES=1024. */
const megabytes = Number(process.env['FLUX_HOSTILE_MEGABYTES'] ?? 100);
/** What a child may have resident over all of them: Node and DuckDB alone have some 130 MiB. */
const residentMebibytesMax = 300;
const timeout = 120_000 + megabytes * 1_000;

let bench: EtlBench;
let peak: () => number;
beforeEach(async () => {
  bench = await etlBench();
  peak = watchChildren();
});
afterEach(async () => {
  const most = peak();
  await bench.remove();
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThan(residentMebibytesMax);
});

/** @returns ends the watch and gives the most that a child of this process has had resident, MiB (proc_pid_status(5)) */
function watchChildren(): () => number {
  let most = 0;
  const look = (): void => {
    for (const pid of readOr(`/proc/self/task/${process.pid}/children`).trim().split(' ').filter(Boolean)) {
      const kilobytes = Number(/^VmHWM:\s+(\d+) kB$/m.exec(readOr(`/proc/${pid}/status`))?.[1] ?? 0);
      most = Math.max(most, kilobytes / 1024);
    }
  };
  const timer = setInterval(look, 10);
  return () => {
    clearInterval(timer);
    return most;
  };
}

/** A process that is gone has no file there. */
function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Letters that do not repeat, the same in each run. */
function randomLetters(count: number): Buffer {
  const letters = Buffer.alloc(count);
  let state = 1;
  for (let at = 0; at < count; at += 1) {
    state = (state * 48_271) % 2_147_483_647;
    letters[at] = 97 + (state % 26);
  }
  return letters;
}

/** A file of `begin`, so many megabytes of one letter, and `end`. */
function writeLong(name: string, begin: string, letter: string, end: string): void {
  const fd = openSync(join(bench.sources, name), 'w');
  const block = Buffer.alloc(1 << 20, letter);
  writeSync(fd, begin);
  for (let at = 0; at < megabytes; at += 1) writeSync(fd, block);
  writeSync(fd, end);
  closeSync(fd);
}

describe('a hostile file', () => {
  test.each([
    ['csv', 'id,name\n1,', 'x', '\n2,b\n', /Record 1 at byte 8 is longer than 8388608 bytes/],
    ['csv', 'id,name\n1,"', '\n', '2,b\n', /Record 1 (at byte 8 is longer than|opens a quote)/],
    ['csv', '', '\0', '', /longer than|is too long|NUL/],
    ['ndjson', '{"id":1,"name":"', 'x', '"}\n{"id":2}\n', /Expected lines of at most 8388608 bytes/],
    ['json', '[{"id":1,"name":"', 'x', '"}]', /Expected records of at most 8388608 bytes/],
    ['json', '[', '[', '', /Expected records of at most 8388608 bytes/],
    ['xml', '<list><row><name>', 'x', '</name></row></list>', /Expected records of at most 8388608 bytes/],
  ])(
    '%s with one record of everything ends the plan in so many words',
    { timeout },
    async (type, begin, letter, end, words) => {
      const file = `a.${type}`;
      writeLong(file, begin, letter, end);
      const format = type === 'xml' ? { type, recordPath: '/list/row' } : { type };
      const definition = definitionOf(file, format, {});
      const contract = contractOf({ id: { type: 'integer' }, name: { type: 'string' } });
      await expect(bench.run(definition, contract)).rejects.toMatchObject({
        code: 'SOURCE_INVALID',
        message: expect.stringMatching(words) as string,
      });
    },
  );

  test(
    'with 10,000 columns is refused without a contract, and read for those that one names',
    { timeout },
    async () => {
      const row = (of: (at: number) => string): string =>
        `${Array.from({ length: 10_000 }, (_each, at) => of(at)).join(',')}\n`;
      const rows = Array.from({ length: 50 }, (_each, record) => row((at) => (at === 0 ? String(record) : 'x')));
      await bench.put('wide.csv', row((at) => `c${at}`) + rows.join('') + 'short,line\n');
      const definition = definitionOf('wide.csv', { type: 'csv' }, {});
      await expect(bench.run(definition, null)).rejects.toMatchObject({
        code: 'SOURCE_INVALID',
        message: expect.stringContaining('have 10000 columns') as string,
      });
      const named = {
        ...contractOf({ c0: { type: 'integer' }, c9999: { type: 'string' } }),
        additionalProperties: true,
      };
      const { rows: good, rejected, read } = await bench.run(definition, named);
      expect([read, good.length]).toEqual([51, 50]);
      expect(good.at(-1)).toEqual(['50', '49', 'x']);
      expect(rejected.map(({ recordNo, reasons }) => [recordNo, reasons[0]?.message])).toEqual([
        [51, 'must have 10000 fields, found 2'],
      ]);
    },
  );

  const gigabyteLines = [
    { type: 'csv', begin: 'id,name\n1,', message: /longer than 8388608 bytes/ },
    { type: 'ndjson', begin: '{"id":1,"name":"', message: /at most 8388608 bytes, found a longer one/ },
  ];
  test.each(
    gigabyteLines.flatMap((each) => [
      { ...each, compression: 'gzip', compress: gzipSync },
      { ...each, compression: 'zstd', compress: zstdCompressSync },
    ]),
  )(
    'of one line of a gigabyte, as $type in $compression, is refused, and no count is wrong',
    { timeout },
    async ({ type, begin, message, compression, compress }) => {
      // Members, or frames, of one content: what repeats in them stays below the limits of growth, and the gigabyte stands nowhere before the step.
      const member = compress(Buffer.concat([randomLetters(120_000), Buffer.alloc(16 << 20, 'x')]));
      await bench.put(
        'line',
        Buffer.concat([compress(Buffer.from(begin)), ...Array.from({ length: 64 }, () => member)]),
      );
      const before = process.memoryUsage.rss();
      const definition = definitionOf('line', { type, compression });
      await expect(
        bench.run(definition, contractOf({ id: { type: 'integer' }, name: { type: 'string' } })),
      ).rejects.toMatchObject({
        code: 'SOURCE_INVALID',
        message: expect.stringMatching(message) as string,
      });
      expect(process.memoryUsage.rss() - before).toBeLessThan(residentMebibytesMax * 2 ** 20);
    },
  );

  test('that grows a thousandfold is refused before it has', { timeout }, async () => {
    await bench.put(
      'bomb.csv.gz',
      gzipSync(Buffer.concat([Buffer.from('id,name\n'), Buffer.alloc(100 << 20, '1,a\n')])),
    );
    const definition = definitionOf('bomb.csv.gz', { type: 'csv', compression: 'gzip' }, {});
    await expect(bench.run(definition, contractOf({ id: { type: 'integer' } }))).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
    });
    // Nothing was ever opened on it, so that there is nobody to measure.
    await bench.put('a.csv', 'id,name\n1,a\n');
    await bench.run(definitionOf('a.csv', { type: 'csv' }, {}), null);
  });

  test(
    'with broken bytes in every other record behind its beginning loses those and no others',
    { timeout },
    async () => {
      const broken = [Buffer.from([0x31, 0x2c, 0xff]), Buffer.from('1,\0'), Buffer.from([0x31, 0x2c, 0xc3, 0x28])];
      const lines = Array.from({ length: 30_000 }, (_each, at) =>
        at % 2 === 0 || at < 20_000 ? Buffer.from(`${at},é`) : (broken[at % 3] as Buffer),
      );
      await bench.put(
        'mixed.csv',
        Buffer.concat([Buffer.from('id,name\n'), ...lines.flatMap((line) => [line, Buffer.from('\n')])]),
      );
      const { rows, rejected, read } = await bench.run(
        definitionOf('mixed.csv', { type: 'csv' }, { batch: { records: 10_000 } }),
        contractOf({ id: { type: 'integer' }, name: { type: 'string' } }),
      );
      expect([read, rows.length, rejected.length]).toEqual([30_000, 25_000, 5_000]);
      expect(new Set(rejected.map(({ reasons }) => reasons[0]?.rule))).toEqual(new Set(['encoding', 'nul']));
    },
  );
});
