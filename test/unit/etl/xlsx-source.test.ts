import { join } from 'node:path';
import { readFileSync } from 'node:fs';
import { readSheet } from 'read-excel-file/node';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import writeExcelFile from 'write-excel-file/node';
import { contractOf, definitionOf, type EtlBench, etlBench } from '../../support/etl.ts';
import { runSession, withSession } from './session.ts';
import { row, workbookOf } from './xlsx.ts';

const definition = (more: object = {}) => definitionOf('a.xlsx', { type: 'xlsx', ...more });
const contract = contractOf(
  {
    id: { type: 'integer' },
    name: { type: ['string', 'null'] },
    amount: { type: 'number', maximum: 100 },
    day: { type: 'string', format: 'date' },
    'at.time': { type: 'string', format: 'local-date-time' },
    ok: { type: 'boolean' },
  },
  { required: ['id', 'name'], additionalProperties: false },
);
const header = row(1, ['id', 'name', 'amount', 'day', 'at.time', 'ok']);

describe('an XLSX source', () => {
  test('gives numbers, texts, dates and booleans by cell types, styles and contract', async () => {
    const strings = [
      '<t>Ann</t>',
      '<r><rPr/><t>Bo</t></r><r><t xml:space="preserve">b &amp; Co</t></r><rPh sb="0" eb="1"><t>phonetic</t></rPh>',
      '<t>line_x000D_end</t>',
    ];
    const rows = `${header}
      <row r="2"><c r="A2"><v>1</v></c><c r="B2" t="s"><v>0</v></c><c r="C2"><v>0.1</v></c><c r="D2" s="1"><v>45351</v></c><c r="E2" s="2"><v>45351.5</v></c><c r="F2" t="b"><v>1</v></c></row>
      <row r="4"><c r="A4"><f>1+1</f><v>2</v></c><c r="B4" t="s"><v>1</v></c><c r="D4" t="inlineStr"><is><t>2024-03-01</t></is></c><c r="E4" s="1"><v>45352</v></c></row>
      <row r="5" spans="1:6"><c r="A5" s="1"/><c r="B5"/></row>
      <row><c t="str"><v>3</v></c><c t="s"><v>2</v></c><c t="str"><v> 1E1 </v></c></row>
      <row r="7"><c r="A7"><v>4</v></c></row>`;
    const bytes = workbookOf({ rows, strings, formats: ['yyyy\\-mm\\-dd', '[$-409]d/m/yy h:mm AM/PM'] });
    const { rows: good, rejected, survey } = await runSession(bytes, definition(), contract);
    expect(rejected).toEqual([]);
    expect(survey).toMatchObject({ recordsTotal: 4 });
    expect(survey.columns.map(({ type }) => type)).toEqual([
      'bigint',
      'text',
      'double precision',
      'date',
      'timestamp',
      'boolean',
    ]);
    expect(good).toEqual([
      ['1', '1', 'Ann', '0.1', '2024-02-29', '2024-02-29 12:00:00', 'true'],
      ['2', '2', 'Bob & Co', null, '2024-03-01', '2024-03-01 00:00:00', null],
      ['3', '3', 'line\rend', '10.0', null, null, null],
      ['4', '4', null, null, null, null, null],
    ]);
  });

  test('rejects errors, formulas without results, days that never were and cells without a column, by their cells', async () => {
    const rows = `${header}
      <row r="2"><c r="A2" t="e"><v>#N/A</v></c><c r="B2" t="str"><v>a</v></c></row>
      <row r="3"><c r="A3"><f>NOW()</f></c></row>
      <row r="4"><c r="A4"><v>4</v></c><c r="D4" s="1"><v>60</v></c></row>
      <row r="5"><c r="A5"><v>5</v></c><c r="G5"><v>1</v></c></row>
      <row r="6"><c r="A6"><v>6</v></c><c r="B6" t="s"><v>99</v></c></row>
      <row r="7"><c r="A7"><v>7</v></c><c r="B7"><v>501</v></c><c r="C7"><v>101</v></c></row>
      <row r="8"><c r="A8"><v>1.5</v></c><c r="B8" t="x"><v>1</v></c></row>`;
    const { rows: good, rejected } = await runSession(workbookOf({ rows, formats: ['d-mmm'] }), definition(), contract);
    expect(good).toEqual([]);
    expect(
      rejected.map(({ reasons }) => reasons.map(({ path, rule, message }) => `${path} ${rule}: ${message}`)),
    ).toEqual([
      ['/id cell: A2 holds the error #N/A'],
      ['/id cell: A3 holds a formula without its result; save the file in a spreadsheet program'],
      ['/day cell: D4 is shown as a date, and 60 is none'],
      [' fields: must have at most 6 cells, found one more at G5'],
      ['/name cell: B6 refers to the shared text 99, which is not there'],
      [expect.stringContaining('/name type'), expect.stringContaining('/amount maximum')],
      ['/name cell: B8 is of the unknown type "x"'],
    ]);
    expect(rejected.map(({ recordNo }) => recordNo)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(JSON.parse(rejected[0]?.raw ?? '')).toEqual({ id: '#N/A', name: 'a' });
  });

  test('counts the days of both calendars, and tells a time from a date', async () => {
    const rows = `${row(1, ['d'])}${['0.75', '1', '59', '61', '2958465.999988426', '30.25'].map((v, at) => `<row r="${at + 2}"><c r="A${at + 2}" s="${at === 0 ? 2 : at === 5 ? 3 : 1}"><v>${v}</v></c></row>`).join('')}`;
    const formats = ['m/d/yy;@', 'h:mm', '[h]:mm'];
    const read = async (workbookPr: string) =>
      (await runSession(workbookOf({ rows, formats, workbookPr }), definition(), null)).rows.map(([, day]) => day);
    expect(await read('')).toEqual([
      '18:00:00',
      '1900-01-01',
      '1900-02-28',
      '1900-03-01',
      '9999-12-31T23:59:59',
      '30.25',
    ]);
    expect(await read('date1904="1"')).toEqual(['18:00:00', '1904-01-02', '1904-02-29', '1904-03-02', '30.25']);
  });

  test('takes a sheet by its name, a range of it, and names where there is no header', async () => {
    const rows = `${row(1, ['A title'])}${row(3, [null, 'x', 'y'])}${row(4, ['note', 'a', 1])}${row(5, [null, 'b', 2])}${row(6, ['sum', null, 3])}`;
    const bytes = workbookOf({ rows });
    const range = await runSession(bytes, definition({ range: 'B3:C5' }), null);
    expect(range.rows).toEqual([
      ['1', 'a', '1'],
      ['2', 'b', '2'],
    ]);
    const other = await runSession(bytes, definition({ sheet: 'Other' }), null);
    expect(other.rows).toEqual([['1', '7']]);
    const headless = await runSession(
      bytes,
      definition({ range: 'A4:C5', header: false, columns: ['k', 'l', 'm'] }),
      null,
    );
    expect(headless.rows).toEqual([
      ['1', 'note', 'a', '1'],
      ['2', null, 'b', '2'],
    ]);
  });

  test('goes on from any cursor, with texts that many rows share', async () => {
    const strings = Array.from({ length: 5_000 }, (_each, at) => `<t>${'text '.repeat(30)}${at}</t>`);
    const rows = `${row(1, ['n', 't'])}${strings.map((_text, at) => `<row r="${at + 2}"><c r="A${at + 2}"><v>${at}</v></c><c r="B${at + 2}" t="s"><v>${4_999 - at}</v></c></row>`).join('')}`;
    const small = { ...definition(), batch: { records: 900 } };
    await withSession(workbookOf({ rows, strings }), small, null, async (session) => {
      const [range] = (await session.survey()).ranges;
      if (range === undefined) throw new Error('no range');
      await session.start(range, null);
      const first = await session.next();
      await session.start(range, first.cursor);
      const second = await session.next();
      expect([second.firstRecord, second.lastRecord, second.goodCount]).toEqual([901, 1800, 900]);
      const [line = ''] = readFileSync(second.goodFile, 'utf8').split('\n');
      expect(line).toMatch(/^901,"?900"?,"?(?:text ){30}4099"?$/);
    });
  });

  const big = (part: string): Uint8Array =>
    workbookOf({ rows: header, more: { [part]: new Uint8Array(40 * 2 ** 20) }, options: { level: 9 } });
  test.for([
    ['no archive', new TextEncoder().encode('a,b\n1,2\n'), {}, /no ZIP archive/],
    ['an archive of something else', workbookOf({ rows: '', more: { 'xl/workbook.xml': '<a/>' } }), {}, /no sheet/],
    ['a sheet that is not there', workbookOf({ rows: header }), { sheet: 'Nope' }, /Found: "Data", "Other"/],
    ['a sheet without records', workbookOf({ rows: header }), {}, /no record/],
    [
      'a header with a gap',
      workbookOf({ rows: row(1, ['a', null, 'c']) + row(2, [1, 2, 3]) }),
      {},
      /column B without a name/,
    ],
    ['a header that says a name twice', workbookOf({ rows: row(1, ['a', 'a']) + row(2, [1, 2]) }), {}, /"a" twice/],
    ['a sheet cut short', workbookOf({ rows: `${header}<row r="2"><c r="A2">` }), {}, /cannot be read: Expected <\/c>/],
    [
      'entities',
      workbookOf({ rows: '', more: { 'xl/workbook.xml': '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>' } }),
      {},
      /well-formed|no sheet/,
    ],
    [
      'entities in a sheet',
      workbookOf({ rows: '', more: { 'xl/worksheets/sheet1.xml': '<!DOCTYPE a [<!ENTITY b "c">]><a/>' } }),
      {},
      /never expanded/,
    ],
    ['a bomb of a sheet', big('xl/worksheets/sheet1.xml'), {}, /decompression bomb/],
    ['a bomb of shared texts', big('xl/sharedStrings.xml'), {}, /decompression bomb/],
    ['a bomb of styles', big('xl/styles.xml'), {}, /more than 16777216 bytes/],
    ['a range beyond every sheet', workbookOf({ rows: header }), { range: 'A1:ZZZ9' }, /cannot hold the range/],
  ] as const)('refuses %s', async ([, bytes, more, message]) => {
    await expect(runSession(bytes, definition(more), null)).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringMatching(message) as string,
    });
  });

  test('refuses an archive with any byte of its parts changed', async () => {
    const bytes = workbookOf({ rows: `${header}${row(2, [1, 'a'])}`, options: { level: 0 } });
    const at = Buffer.from(bytes).indexOf('<v>1</v>') + 3;
    bytes[at] = 0x32;
    await expect(runSession(bytes, definition(), null)).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringMatching(/checksum/) as string,
    });
  });

  describe('from another program', () => {
    let bench: EtlBench;
    beforeEach(async () => {
      bench = await etlBench();
    });
    afterEach(() => bench.remove());

    test('holds what an independent reader finds in it, after pinning and in ranges', async () => {
      const records = Array.from({ length: 1_200 }, (_each, at) => [
        { value: at + 1, type: Number },
        { value: `näme ${at % 7}`, type: String },
        { value: at / 8, type: Number },
        { value: new Date(Date.UTC(2024, 0, 1 + (at % 366))), type: Date, format: 'mm/dd/yyyy' },
      ]);
      const names = ['id', 'name', 'amount', 'day'].map((value) => ({ value, type: String }));
      const bytes = await writeExcelFile([names, ...records] as never).toBuffer();
      await bench.put('a.xlsx', bytes);
      const open = contractOf({
        id: { type: 'integer' },
        name: { type: 'string' },
        amount: { type: 'number' },
        day: { type: 'string', format: 'date' },
      });
      const { rows, rejected, plan } = await bench.run({ ...definition(), batch: { records: 100 } }, open);
      const independent = await readSheet(join(bench.sources, 'a.xlsx'));
      expect([plan.recordsTotal, rejected, plan.ranges.length]).toEqual([independent.length - 1, [], 3]);
      expect(rows.map(([, id, name, amount, day]) => [Number(id), name, Number(amount), day])).toEqual(
        independent
          .slice(1)
          .map(([id, name, amount, day]) => [id, name, amount, (day as unknown as Date).toISOString().slice(0, 10)]),
      );
    });
  });
});
