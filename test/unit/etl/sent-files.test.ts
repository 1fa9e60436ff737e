/** Files as people send them: each ends in an error that says what to do, or in records that are refused one by one; none in a wrong count. */
import { describe, expect, test } from 'vitest';
import { contractOf, definitionOf } from '../../support/etl.ts';
import { handMadeParquet } from '../../support/parquet-bytes.ts';
import { runSession } from './session.ts';
import { row, workbookOf } from './xlsx.ts';

type Format = Parameters<typeof definitionOf>[1];
const contract = contractOf({ id: { type: 'integer' }, v: { type: 'string' } });
const read = (content: string | Uint8Array, format: Format, of: Record<string, unknown> | null = contract) =>
  runSession(content, definitionOf('sent', format), of);
const csv = { type: 'csv', header: true };
const json = { type: 'json' };
const inData = { type: 'json', recordPath: '/data' };
const fixed = {
  type: 'fixed',
  columns: [
    { name: 'id', start: 1, length: 1 },
    { name: 'v', start: 2, length: 1 },
  ],
};
const damaged = (change: (file: Buffer) => void): Buffer => {
  const file = handMadeParquet({ groups: [10, 5], noteOf: (at) => `note ${String(at)}`, rowsPerPage: 3 });
  change(file);
  return file;
};
const utf16 = (text: string): Buffer => Buffer.from(text, 'utf16le');

describe('a file that cannot be read as it is declared', () => {
  test.each<[string, string | Uint8Array, Format, RegExp]>([
    ['CSV in UTF-16 without a mark', utf16('id,v\n1,a\n'), csv, /in UTF-8, found binary data \(a NUL at byte 1\)/],
    ['CSV in UTF-16BE without a mark', utf16('id,v\n1,a\n').swap16(), csv, /found binary data \(a NUL at byte 0\)/],
    ['NDJSON in UTF-16 without a mark', utf16('{"id":1}\n'), { type: 'ndjson' }, /found binary data/],
    [
      'CSV with a hole of NULs',
      Buffer.concat([Buffer.from('id,v\n1,a\n'), Buffer.alloc(1 << 20)]),
      csv,
      /a NUL at byte 9/,
    ],
    [
      'CSV with a quote that never closes',
      'id,v\n1,a\n2,"b\n3,c\n',
      csv,
      /Record 2 opens a quote at byte 11 that never closes/,
    ],
    [
      'CSV with a quote that closes nowhere near',
      `id,v\n2,"b\n${'x,y\n'.repeat(2_500_000)}`,
      csv,
      /longer than 8388608 bytes/,
    ],
    ['CSV whose lines end with CR', 'id,v\r1,a\r2,b\r', csv, /found a bare CR at byte 4/],
    [
      'CSV with another delimiter',
      'id;v\n1;a\n',
      csv,
      /names no field of the contract. Expected some of "id", "v", found "id;v"/,
    ],
    ['CSV whose every line ends with a delimiter', 'id,v,\n1,a,\n', csv, /leaves column 3 without a name/],
    [
      'NDJSON whose lines end with CR',
      '{"id":1}\r{"id":2}\r{"id":3}\r',
      { type: 'ndjson' },
      /found a bare CR. Convert the line ends \(byte 8\)/,
    ],
    [
      'NDJSON of megabytes whose lines end with CR',
      '{"id":1,"v":"a"}\r'.repeat(600_000),
      { type: 'ndjson' },
      /bare CR/,
    ],
    ['fixed width whose lines end with CR', '1a\r2b\r', fixed, /found a bare CR at byte 2/],
    ['two JSON documents', '[{"id":1}][{"id":2}]', json, /Expected the end of the document, found "\[" \(byte 10\)/],
    [
      'a JSON document with something behind it',
      '[{"id":1}] and more',
      json,
      /Expected the end of the document, found "a"/,
    ],
    [
      'a JSON document in an object with another behind it',
      '{"data":[{"id":1}]}{"data":[{"id":2}]}',
      inData,
      /found "{" \(byte 19\)/,
    ],
    [
      'a JSON document with its list twice',
      '{"data":[{"id":1}],"n":"data","data":[{"id":2},{"id":3}]}',
      inData,
      /Expected one member "data" on the way to \/data, found another/,
    ],
    [
      'XML with entities of its own',
      '<!DOCTYPE r [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><r><x><id>1</id><v>&b;</v></x></r>',
      { type: 'xml', recordPath: '/r/x' },
      /entities are never expanded/,
    ],
    ['Parquet that ends early', damaged(() => undefined).subarray(0, -20), { type: 'parquet' }, /damaged/],
    [
      'Parquet with a footer of other bytes',
      damaged((file) => file.fill(0xff, file.length - 60, file.length - 40)),
      { type: 'parquet' },
      /damaged/,
    ],
    ['Parquet with pages of other bytes', damaged((file) => file.fill(0xff, 20, 60)), { type: 'parquet' }, /damaged/],
    ['Parquet that begins late', damaged(() => undefined).subarray(50), { type: 'parquet' }, /damaged/],
  ])('%s', async (_name, content, format, message) => {
    const failure: unknown = await read(content, format, format.type === 'parquet' ? null : contract).catch(
      (cause: unknown) => cause,
    );
    expect(failure).toMatchObject({ code: 'SOURCE_INVALID', message: expect.stringMatching(message) as string });
    expect(String(failure)).not.toContain('/tmp');
  });
});

describe('records that cannot be taken', () => {
  const rulesOf = (rejected: Awaited<ReturnType<typeof read>>['rejected']) =>
    rejected.map(({ recordNo, reasons }) => [recordNo, ...reasons.map(({ path, rule }) => `${path} ${rule}`)]);

  test('a value that nests thousands deep is refused, and the next record is read', async () => {
    const deep = `${'['.repeat(5_000)}${']'.repeat(5_000)}`;
    const { rows, rejected } = await read(`[{"id":1,"v":${deep}},{"id":2,"v":"b"}]`, json);
    expect(rows).toEqual([['2', '2', 'b']]);
    expect(rulesOf(rejected)).toEqual([[1, ' depth']]);
  });

  test('a header that comes again is a record, and is refused as one', async () => {
    const { rows, rejected } = await read('id,v\n1,a\nid,v\n2,b\n', csv);
    expect(rows).toEqual([
      ['1', '1', 'a'],
      ['3', '2', 'b'],
    ]);
    expect(rulesOf(rejected)).toEqual([[2, '/id type']]);
  });

  test('a bare CR within a line of fixed width', async () => {
    const { rows, rejected } = await read('1a\n2b\r3c\n4d\r\n', fixed);
    expect(rows).toEqual([
      ['1', '1', 'a'],
      ['3', '4', 'd'],
    ]);
    expect(rulesOf(rejected)).toEqual([[2, ' carriage-return']]);
  });

  test('numbers beyond their type, and days that were not', async () => {
    const numbers = contractOf({ id: { type: 'integer' }, n: { type: 'number' } });
    const written = 'id,n\n1,1e400\n00012,00012\n-0,1\n2,0x10\n1e400,1\n3,"1,000"\n';
    const { rows, rejected } = await read(written, csv, numbers);
    expect(rows.map(([, ...cells]) => cells)).toEqual([
      ['12', '12.0'],
      ['0', '1.0'],
    ]);
    expect(rulesOf(rejected)).toEqual([
      [1, '/n type'],
      [4, '/n type'],
      [5, '/id type'],
      [6, '/n type'],
    ]);
    const inJson = '[{"id":1e400},{"id":1,"n":1e400},{"id":2,"n":-0}]';
    expect(rulesOf((await read(inJson, json, numbers)).rejected)).toEqual([
      [1, '/id type'],
      [2, '/n type'],
    ]);
    const days = contractOf({ day: { type: 'string', format: 'date' }, at: { type: 'string', format: 'date-time' } });
    const moments =
      'day,at\n2023-02-29,2023-01-01T00:00:00Z\n2024-02-29,2023-01-01T24:00:00Z\n2024-02-29,2024-02-29T23:59:59Z\n';
    const told = await read(moments, csv, days);
    expect(told.rows).toEqual([['3', '2024-02-29', '2024-02-29 23:59:59+00']]);
    expect(rulesOf(told.rejected)).toEqual([
      [1, '/day format'],
      [2, '/at format'],
    ]);
  });

  test('merged cells hold their value in the first of them, and days count from 1904 where the workbook says so', async () => {
    const cells = (number: number, id: number, day: string) =>
      `<row r="${String(number)}"><c r="A${String(number)}"><v>${String(id)}</v></c>${day}</row>`;
    const workbook = workbookOf({
      rows: `${row(1, ['id', 'v'])}${cells(2, 1, '<c r="B2" s="1"><v>0</v></c>')}${cells(3, 2, '<c r="B3" s="1"/>')}`,
      formats: ['yyyy-mm-dd'],
      workbookPr: 'date1904="1"',
    });
    const dated = contractOf({ id: { type: 'integer' }, v: { type: ['string', 'null'], format: 'date' } });
    expect((await read(workbook, { type: 'xlsx' }, dated)).rows).toEqual([
      ['1', '1', '1904-01-01'],
      ['2', '2', null],
    ]);
  });

  test('packed decimals whose last half is no sign', async () => {
    const copybook = '01 R. 05 ID PIC 9. 05 V PIC S9(5) COMP-3.';
    const signs = ['12345c', '12345d', '12345f', '123459', '123450', '1234ac', '404040'];
    const source = Buffer.from(signs.map((value, at) => `f${String(at + 1)}${value}`).join(''), 'hex');
    const packed = contractOf({ ID: { type: 'integer' }, V: { type: 'integer' } });
    const { rows, rejected } = await read(source, { type: 'mainframe', copybook }, packed);
    expect(rows.map(([, , value]) => value)).toEqual(['12345', '-12345', '12345']);
    expect(rulesOf(rejected)).toEqual([4, 5, 6, 7].map((recordNo) => [recordNo, '/V picture']));
  });
});
