/**
 * Files with traps of their own kinds, each written from values that are known, and each read back cell by cell: what came out must be what went
 * in. Delimited text is counted by csv-parse as well, which shares nothing with our splitter.
 */
import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { contractOf, definitionOf, type EtlBench, etlBench } from '../../support/etl.ts';

type Format = Parameters<typeof definitionOf>[1];

let bench: EtlBench;
beforeAll(async () => {
  bench = await etlBench();
});
afterAll(() => bench.remove());

/** With a contract, records that surely meet it go another way to COPY than without: both must give the same. */
async function read(content: string | Uint8Array, format: Format, names: readonly string[]) {
  await bench.put('trap', content);
  const definition = definitionOf('trap', format, { batch: { records: 700 } });
  const { additional, ...typed } = {
    additional: true,
    ...Object.fromEntries(names.map((name) => [name, { type: 'string' }])),
  };
  const result = await bench.run(definition, contractOf(typed, { additionalProperties: additional }));
  expect(result.plan.recordsTotal).toBe(result.read);
  return { ...result, cells: result.rows.map(([, ...cells]) => cells) };
}
const quoted = (text: string): string => `"${text.replaceAll('"', '""')}"`;

describe('traps in public files', () => {
  test('line ends of every kind inside quotes, CRLF outside, and a last line without end', async () => {
    const ends = ['\n', '\r\n', '\r', '\n\r', '\r\r\n', '\u2028', '\u0085', '\v\f', '\n\n"\n'];
    const records = Array.from({ length: 2_000 }, (_each, at) => [
      String(at),
      `a${String(ends[at % ends.length])}b`,
      `z${String(at)}`,
    ]);
    const content = [
      'id,note,end',
      ...records.map(([id, note = '', end]) => `${String(id)},${quoted(note)},${String(end)}`),
    ].join('\r\n');
    const { cells, rejected } = await read(content, { type: 'csv' }, ['id', 'note', 'end']);
    const independent = parse(content, { record_delimiter: '\r\n' });
    expect(cells).toEqual(records);
    expect(cells).toEqual(independent.slice(1));
    expect(rejected).toEqual([]);
  });

  test('a list without header whose lines end with a delimiter is refused line by line until that column has a name', async () => {
    const records = Array.from({ length: 1_500 }, (_each, at) => [
      `00${String(at)}`,
      at % 3 === 0 ? null : `O'Neil, "${String(at)}"`,
    ]);
    const content = records.map((record) => `${record.map((cell) => cell ?? '').join('|')}|\r\n`).join('');
    const format = { type: 'csv', header: false, delimiter: '|', quote: null };
    const strict = await read(content, { ...format, columns: ['id', 'name'] }, ['id', 'name']);
    expect([strict.read, strict.cells.length, strict.rejected.length]).toEqual([1_500, 0, 1_500]);
    expect(strict.rejected[0]?.reasons).toMatchObject([{ rule: 'fields', message: 'must have 2 fields, found 3' }]);
    const named = await read(content, { ...format, columns: ['id', 'name', 'nothing'] }, ['id', 'name']);
    expect(named.cells).toEqual(records);
    const independent = parse(content, { delimiter: '|', quote: false });
    expect(named.cells).toEqual(independent.map(([id, name]) => [id, name === '' ? null : name]));
  });

  test('UTF-16LE with a mark and tabs, where surrogates and line ends lie over every border of a piece', async () => {
    const records = Array.from({ length: 4_000 }, (_each, at) => [
      String(at),
      `${'😀'.repeat(at % 19)}\u4e0a\u0a0d\u0d0a "${'x'.repeat(at % 5)}\t`,
      'ü',
    ]);
    const lines = records.map(([id, text = '', end]) => `${String(id)}\t${quoted(text)}\t${String(end)}\r\n`);
    const content = `\ufeffid\ttext\tend\r\n${lines.join('')}`;
    expect(content.length * 2).toBeGreaterThan(3 * 65_536);
    const format = { type: 'csv', delimiter: '\t', encoding: 'utf-16le' };
    const { cells, rejected } = await read(Buffer.from(content, 'utf16le'), format, ['id', 'text', 'end']);
    expect(cells).toEqual(records);
    expect(cells).toEqual(parse(content, { bom: true, delimiter: '\t' }).slice(1));
    expect(rejected).toEqual([]);
  });

  test('doubled quotes, CRLF and letters of several bytes over the borders of 64 KiB and of a block', async () => {
    const header = 'id,text,end\r\n';
    const pieces = ['""', '"', '\r\n', 'é', '😀', ',', '\n'];
    let content = header;
    let bytes = header.length;
    const records: string[][] = [];
    // Each record puts another piece at another place around the next border.
    for (let at = 0; bytes < 2.2 * 2 ** 20; at += 1) {
      const piece = String(pieces[at % pieces.length]);
      const start = `${String(at)},"`;
      const border = 65_536 - ((bytes + start.length) % 65_536);
      const filler = 'f'.repeat(Math.max(0, border - (at % 4)));
      // What comes behind the quotes tells whether an even number of them was taken for the end.
      const text = `${filler}${piece.repeat(4)}${at % 2 === 0 ? '' : 'x'}`;
      const record = `${start}${text.replaceAll('"', '""')}",e${String(at)}\r\n`;
      records.push([String(at), text, `e${String(at)}`]);
      content += record;
      bytes += Buffer.byteLength(record);
    }
    const { cells, rejected } = await read(content, { type: 'csv' }, ['id', 'text', 'end']);
    expect(rejected).toEqual([]);
    expect(cells).toEqual(records);
    expect(cells).toEqual(parse(content).slice(1));
  });

  test('fixed width in letters of several bytes, counted as characters, with a mark, CRLF and a last line without end', async () => {
    const names = ['Zoë', '日本語', 'Iñaki', '😀 mix', 'e\u0301', 'plain'];
    const columns = [
      { name: 'id', start: 1, length: 5 },
      { name: 'name', start: 6, length: 8 },
      { name: 'code', start: 14, length: 2 },
    ];
    const records = Array.from({ length: 5_000 }, (_each, at) => [String(at), String(names[at % names.length]), 'ÄÖ']);
    const padded = (text: string, length: number): string => text + ' '.repeat(length - [...text].length);
    const lines = records.map(([id = '', name = '', code]) => `${padded(id, 5)}${padded(name, 8)}${String(code)}`);
    const { cells, rejected } = await read(`\ufeff${lines.join('\r\n')}`, { type: 'fixed', columns }, [
      'id',
      'name',
      'code',
    ]);
    expect(rejected).toEqual([]);
    expect(cells).toEqual(records);
  });

  test('NDJSON with CRLF, a mark, separators of lines inside texts, and numbers that look like others', async () => {
    const records = Array.from({ length: 1_500 }, (_each, at) => ({
      id: String(at),
      text: `a\u2028b\u0085c\u2029\v"\\${String(at)}`,
    }));
    const content = `\ufeff${records.map((record) => JSON.stringify(record).replaceAll('\\u000b', '\\u000B')).join('\r\n')}`;
    const { cells, rejected } = await read(content, { type: 'ndjson' }, ['id', 'text']);
    expect(rejected).toEqual([]);
    expect(cells).toEqual(records.map(({ id, text }) => [id, text]));
  });
});
