import { describe, expect, test } from 'vitest';
import { contractOf, definitionOf } from '../../support/etl.ts';
import { runSession } from './session.ts';

const csv = definitionOf('a.csv', { type: 'csv' });
const contract = contractOf(
  { id: { type: 'integer', minimum: 1 }, name: { type: 'string', maxLength: 5 } },
  { required: ['id'], additionalProperties: false },
);

const expectInvalid = (
  content: string | Uint8Array,
  message: RegExp,
  definition = csv,
  document: Record<string, unknown> | null = contract,
): Promise<void> =>
  expect(runSession(content, definition, document)).rejects.toMatchObject({
    code: 'SOURCE_INVALID',
    message: expect.stringMatching(message) as string,
  });

describe('a delimited source', () => {
  test('gives typed rows with their record numbers, and rejects with every reason', async () => {
    const result = await runSession('id,name\n1,Ann\n0,Barbara\n"3","a ""b"""\n,x\nx,\n', csv, contract);
    expect(result.rows).toEqual([
      ['1', '1', 'Ann'],
      ['3', '3', 'a "b"'],
    ]);
    expect(result.rejected).toEqual([
      {
        recordNo: 2,
        byteOffset: 14,
        raw: '0,Barbara',
        reasons: [
          { path: '/id', rule: 'minimum', message: 'must be at least 1, found "0"' },
          { path: '/name', rule: 'maxLength', message: 'must be at most 5 characters long, found "Barbara"' },
        ],
      },
      { recordNo: 4, byteOffset: 38, raw: ',x', reasons: [{ path: '/id', rule: 'required', message: 'is required' }] },
      {
        recordNo: 5,
        byteOffset: 41,
        raw: 'x,',
        reasons: [{ path: '/id', rule: 'type', message: 'must be an integer of at most 64 bits, found "x"' }],
      },
    ]);
    expect(result.survey.columns).toEqual([
      { name: 'id', type: 'bigint' },
      { name: 'name', type: 'text' },
    ]);
    expect(
      result.batches[0]?.steps.map(({ step, recordsIn, recordsOut, recordsRejected }) => [
        step,
        recordsIn,
        recordsOut,
        recordsRejected,
      ]),
    ).toEqual([
      ['read', 5, 5, 0],
      ['validate', 5, 2, 3],
      ['write', 2, 2, 0],
    ]);
  });

  test('rejects ragged and badly quoted records one by one, and keeps the numbers of the others', async () => {
    const text = 'id,name\r\n1,a\r\n2\r\n3,b,c\r\n4,d"e\r\n5,"f"g\r\n6,h\ri\r\n7,j\r\n';
    const result = await runSession(text, csv, contract);
    expect(result.rows).toEqual([
      ['1', '1', 'a'],
      ['7', '7', 'j'],
    ]);
    expect(result.rejected.map(({ recordNo, reasons }) => [recordNo, reasons[0]?.rule])).toEqual([
      [2, 'fields'],
      [3, 'fields'],
      [4, 'quote'],
      [5, 'quote'],
      [6, 'carriage-return'],
    ]);
    expect(result.batches[0]?.steps[0]).toMatchObject({ step: 'read', recordsIn: 7, recordsRejected: 5 });
  });

  test('reads a byte order mark, CRLF, mixed line ends, no last line end, empty lines and line ends inside quotes', async () => {
    const result = await runSession('\ufeffid,name\r\n1,"a\r\nb"\n\r\n2,"c\nd"', csv, contract);
    expect(result.rows).toEqual([
      ['1', '1', 'a\r\nb'],
      ['2', '2', 'c\nd'],
    ]);
  });

  test('takes an empty cell for absent, quoted or not, and keeps what only looks like nothing', async () => {
    const result = await runSession('id,name\n1,\n2,""\n3,NULL\n4,\\N\n5, \n', csv, contract);
    expect(result.rows.map((row) => row[2])).toEqual([null, null, 'NULL', '\\N', ' ']);
  });

  test('reads other delimiters, no quotes, and columns without a header', async () => {
    const tab = definitionOf('a.tsv', {
      type: 'csv',
      delimiter: '\t',
      quote: null,
      header: false,
      columns: ['id', 'name'],
    });
    expect((await runSession('1\ta"b\n2\t,"\n', tab, contract)).rows).toEqual([
      ['1', '1', 'a"b'],
      ['2', '2', ',"'],
    ]);
  });

  test('reads quotes behind an escape, and skips comments, with the numbers and places of the source', async () => {
    const dialect = definitionOf('a.csv', { type: 'csv', escape: '\\', comment: '#' });
    const lines = [
      '# of 2026, "unfinished',
      '"id","na\\"me"',
      '1,"a\\"b,\\\\"',
      '#,"',
      '2,a\\b',
      '3,"c\\d"',
      'x,"e\\"f"',
      '4,"g""h"',
      '5,"#\n# no comment"',
      '# the end',
    ];
    const text = `${lines.join('\n')}\n`;
    const named = contractOf({ id: { type: 'integer' }, 'na"me': { type: 'string' } });
    const result = await runSession(text, dialect, named);
    expect(result.rows).toEqual([
      ['1', '1', 'a"b,\\'],
      ['2', '2', 'a\\b'],
      ['3', '3', 'c\\d'],
      ['6', '5', '#\n# no comment'],
    ]);
    expect(
      result.rejected.map(({ recordNo, byteOffset, reasons, raw }) => [recordNo, byteOffset, reasons[0]?.rule, raw]),
    ).toEqual([
      [4, text.indexOf('x,'), 'type', 'x,"e\\"f"'],
      [5, text.indexOf('4,'), 'quote', '4,"g""h"'],
    ]);
  });

  test('reads a single column and a contract with optional columns that are not there', async () => {
    const result = await runSession('id\n1\n2\n', csv, contract);
    expect(result.rows).toEqual([
      ['1', '1', null],
      ['2', '2', null],
    ]);
  });

  test('loads every column as text where there is no contract', async () => {
    const result = await runSession('Site Name,Total $\nx,007\n', csv, null);
    expect(result.survey.columns).toEqual([
      { name: 'site_name', type: 'text' },
      { name: 'total', type: 'text' },
    ]);
    expect(result.rows).toEqual([['1', 'x', '007']]);
  });

  test.for([
    ['nothing but empty lines', '\n\n', /no record/],
    ['a header alone', 'id,name\n', /header and no record/],
    ['a required column missing', 'name\na\n', /requires "id"/],
    ['a column that the contract does not allow', 'id,extra\n1,2\n', /"extra"/],
    ['a name twice', 'id,id\n1,2\n', /"id" twice/],
    ['a column without name', 'id,\n1,2\n', /without a name/],
    ['two names that become one', 'id,Name,name\n1,2,3\n', /./],
    ['line ends of CR alone', 'id,name\r1,2\r', /bare CR/],
    ['a quote that never closes', 'id,name\n1,"a\n2,b\n', /opens a quote at byte 10 that never closes/],
    ['a NUL at the beginning', 'id,name\n1,\0\n', /binary data \(a NUL at byte 10\)/],
    ['text in UTF-16', Buffer.from('\ufeffid,name\n1,2\n', 'utf16le'), /UTF-16/],
    ['a gzip archive', Buffer.from([0x1f, 0x8b, 8, 0, 0]), /gzip/],
    ['text in Latin-1', Buffer.from('id,name\n1,caf\u00e9\n', 'latin1'), /another encoding: byte 13 \(record 1\)/],
  ] as const)('refuses %s', ([, content, message]) => expectInvalid(content, message));

  test('rejects single damaged records of a file that is UTF-8', async () => {
    const bytes = Buffer.concat([Buffer.from('id,name\n1,é\n2,'), Buffer.from([0xe9, 0x0a]), Buffer.from('3,b\n')]);
    const result = await runSession(bytes, csv, contract);
    expect(result.rows.map((row) => row[0])).toEqual(['1', '3']);
    expect(result.rejected[0]).toMatchObject({ recordNo: 2, raw: '2,\ufffd', reasons: [{ rule: 'encoding' }] });
  });

  test('rejects a record with a NUL far inside the file, and shows it', async () => {
    const many = Array.from({ length: 3000 }, (_each, at) => `${at + 1},a\n`).join('');
    const result = await runSession(`id,name\n${many}3001,x\0y\n3002,b\n`, csv, contract);
    expect(result.rejected).toMatchObject([{ recordNo: 3001, raw: '3001,x\u2400y', reasons: [{ rule: 'nul' }] }]);
    expect(result.rows.length).toBe(3001);
  });

  test('refuses a giant single line with a bounded amount of memory', async () => {
    const before = process.memoryUsage.rss();
    await expectInvalid(
      Buffer.concat([Buffer.from('id,name\n1,'), Buffer.alloc(60_000_000, 'x')]),
      /Record 1 at byte 8 is longer than 8388608 bytes/,
    );
    // The test's own two copies of the file are 120 MB.
    expect(process.memoryUsage.rss() - before).toBeLessThan(250_000_000);
  });

  test('reads records of several megabytes', async () => {
    const long = 'x'.repeat(5_000_000);
    const result = await runSession(
      `id,name\n1,${long}\n2,b\n`,
      csv,
      contractOf({ id: { type: 'integer' }, name: { type: 'string' } }),
    );
    expect(result.rows.map((row) => row[2]?.length)).toEqual([5_000_000, 1]);
  });

  test('cuts ranges at records, and gives every record its own number', async () => {
    const lines = Array.from({ length: 1000 }, (_each, at) => `${at + 1},"a\n${at}"`);
    const small = definitionOf('a.csv', { type: 'csv' }, { batch: { records: 30 } });
    const open = contractOf({ id: { type: 'integer' }, name: { type: 'string' } });
    const whole = await runSession(`id,name\n${lines.join('\n')}\n`, small, open);
    expect(whole.survey.ranges.length).toBe(7);
    expect(whole.rows.map((row) => row[1])).toEqual(lines.map((_line, at) => String(at + 1)));
    expect(whole.rows.every(([no, id]) => no === id)).toBe(true);
    expect(whole.batches.reduce((sum, batch) => sum + batch.recordsRead, 0)).toBe(1000);
  });
});
