import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { BatchSession } from '../../../src/etl/batch-session.ts';
import type { PreparedBatch, Range } from '../../../src/etl/protocol.ts';
import { goodRows } from '../../support/copy-file.ts';
import { contractOf, definitionOf } from '../../support/etl.ts';
import { parquetOf } from '../../support/parquet.ts';
import { bothWays } from './both-ways.ts';
import { runSession, withSession } from './session.ts';

const parquet = { type: 'parquet' } as const;
const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`;
interface ColumnValues {
  usual: string;
  type: string;
  values: readonly string[];
}

/** Rows of usual values, so many, and behind them each column's values, and a null, one after the other in place of its usual one. */
function rowsOf(columns: Record<string, ColumnValues>, usualCount: number): string {
  const all = Object.entries(columns);
  const rowWith = (name: string, value: string): string =>
    `(${all.map(([other, { usual }]) => (other === name ? value : usual)).join(', ')})`;
  const rows = all.flatMap(([name, { values }]) => [...values, 'null'].map((value) => rowWith(name, value)));
  const names = all.map(([name]) => name).join(', ');
  const typed = all.map(([name, { type }]) => `${name}::${type} as ${name}`).join(', ');
  return `
    select ${typed} from (values ${rowWith('', '')}) t(${names}), range(0, ${String(usualCount)}) union all
    select ${typed} from (values ${rows.join(', ')}) t(${names})`;
}

const bounds = (type: string, min: string, max: string): { usual: string; type: string; values: string[] } => ({
  usual: '7',
  type,
  values: [min, max, '0', '1', '-0', '5', '100'].filter((value) => min !== '0' || !value.startsWith('-')),
});
const columns = {
  tiny: bounds('tinyint', '-128', '127'),
  small: bounds('smallint', '-32768', '32767'),
  plain: bounds('integer', '-2147483648', '2147483647'),
  big: {
    ...bounds('bigint', '-9223372036854775808', '9223372036854775807'),
    values: [
      ...['-9223372036854775808', '9223372036854775807', '9007199254740991', '9007199254740992', '9007199254740993'],
      ...['-9007199254740991', '-9007199254740993', '-1', '4294967296', '-4294967297', '4294967295'],
    ],
  },
  utiny: bounds('utinyint', '0', '255'),
  usmall: bounds('usmallint', '0', '65535'),
  uplain: bounds('uinteger', '0', '4294967295'),
  size: {
    usual: '1.5',
    type: 'double',
    values: [
      "'nan'",
      "'inf'",
      "'-inf'",
      "'-0.0'",
      '0.1',
      '1e308',
      '5e-324',
      '1e21',
      '123456789.123456789',
      '-2.5',
      '1000',
    ],
  },
  flag: { usual: 'true', type: 'boolean', values: ['false', 'true'] },
  day: {
    usual: "'2020-02-29'",
    type: 'date',
    values: [
      "'0001-01-01'",
      "'0001-01-01 (BC)'",
      "'9999-12-31'",
      "'10000-01-01'",
      "'infinity'",
      "'-infinity'",
      "'1999-12-31'",
      "'1969-12-31'",
    ],
  },
  moment: {
    usual: "'2020-02-29 12:00:00'",
    type: 'timestamp',
    values: [
      "'0001-01-01 00:00:00'",
      "'0044-03-15 (BC) 00:00:00'",
      "'9999-12-31 23:59:59.999999'",
      "'10000-01-01 00:00:00'",
      "'infinity'",
      "'1969-12-31 23:59:59.999999'",
      "'1999-12-31 23:59:59.000001'",
    ],
  },
  zoned: {
    usual: "'2020-02-29 12:00:00+02'",
    type: 'timestamptz',
    values: ["'0001-01-01 00:00:00+00'", "'10000-01-01 00:00:00+00'", "'-infinity'", "'1999-12-31 23:59:59.5-08'"],
  },
  name: {
    usual: "'text'",
    type: 'varchar',
    values: [
      "''",
      "'a'",
      "'ab'",
      "'twelve bytes'",
      "'thirteen byte'",
      "'a' || chr(0)",
      "'thirteen byte' || chr(0)",
      "'é'",
      "'éé'",
      "'😀'",
      '\'a,"b"\'',
      "'two\nlines'",
      `'${'long '.repeat(20)}'`,
      `repeat('x', 8192)`,
      `repeat('x', 8193)`,
      `repeat('é', 5000)`,
    ],
  },
};

const ruled = contractOf(
  {
    tiny: { type: 'integer', minimum: 0 },
    small: { type: 'integer', multipleOf: 7 },
    plain: { type: 'integer', enum: [0, 7, 100] },
    big: { type: 'integer', exclusiveMaximum: 9007199254740993 },
    utiny: { type: ['integer', 'null'], maximum: 100 },
    usmall: { type: 'number', minimum: 0.5 },
    uplain: {},
    size: { type: 'number', maximum: 1000, exclusiveMinimum: -2.5 },
    flag: { type: 'boolean' },
    day: { type: 'string', format: 'date' },
    moment: { type: 'string', format: 'local-date-time' },
    zoned: { type: 'string', format: 'date-time' },
    name: { type: 'string', minLength: 2, maxLength: 6000 },
  },
  { required: ['tiny', 'size', 'flag', 'day', 'moment', 'name'], additionalProperties: false },
);

const contracts: readonly (readonly [string, Record<string, unknown> | null])[] = [
  ['with a contract', ruled],
  ['without one', null],
  ['whose contract asks for less', contractOf({ name: {}, day: { type: 'string' }, absent: { type: 'integer' } }, {})],
];

test('vectors go from DuckDB’s interface to what reads their bytes: both are the same library', () => {
  const own = createRequire(import.meta.url);
  const theirs = createRequire(own.resolve('@duckdb/node-api'));
  expect(own.resolve('@duckdb/node-bindings')).toBe(theirs.resolve('@duckdb/node-bindings'));
});

describe('records of a Parquet file that are surely good', () => {
  test.each(contracts)(
    'are those that SQL accepts, with the same values, in their order, %s',
    async (_name, contract) => {
      const { sure, long } = await bothWays(await parquetOf(rowsOf(columns, 2000)), parquet, contract);
      expect(sure.made.length).toBeGreaterThan(2000);
      expect(sure.made.length).toBeLessThan(sure.rows.length);
      expect(long.made).toEqual([]);
    },
  );

  test.each([
    ['texts that are choices, patterns and times', `select i, ['new', 'old'][1 + i % 2] as name`, 3000],
    ['a column of another kind of number', `select i::decimal(18, 2) as i, 'new' as name`, 0],
    ['a list beside them', `select i, 'new' as name, [i] as more`, 3000],
  ])('are taken of %s', async (_case, select, made) => {
    const contract = contractOf({ i: { type: 'number' }, name: { type: 'string', enum: ['new', 'old'] } }, {});
    const { sure } = await bothWays(await parquetOf(`${select} from range(0, 3000) r (i)`), parquet, contract);
    expect(sure.made.length).toBe(made);
  });

  test.each([1000, 2048, 3000, 5000])(
    'are the same in batches of %i records, which end within a chunk',
    async (batchRecords) => {
      const query = `select i, 'long enough ' || i as name, i % 7 = 0 as flag, case when i % 100 = 17 then -1 else i / 3.0::double end as size
      from range(1, 12001) r (i)`;
      const contract = contractOf(
        { i: {}, name: {}, flag: { type: 'boolean' }, size: { type: 'number', minimum: 0 } },
        {},
      );
      const { sure } = await bothWays(await parquetOf(query, 4_096), parquet, contract, { batchRecords });
      expect(sure.batches.length).toBeGreaterThanOrEqual(12_000 / batchRecords);
      expect([sure.made.length, sure.rejected.length]).toEqual([11_880, 120]);
      expect(sure.made.map(Number)).toEqual([...sure.made].map(Number).sort((one, other) => one - other));
    },
  );

  test('are taken from where an earlier reading has ended', async () => {
    const bytes = await parquetOf(`select i, 'long enough ' || i as name from range(1, 20001) r (i)`);
    const definition = { ...definitionOf('a', parquet), batch: { records: 3_000 } };
    const read = async (session: BatchSession, range: Range, cursor: string | null): Promise<[string, string[]]> => {
      await session.start(range, cursor);
      const batch = await session.next();
      const { columns } = session.describe();
      return [batch.cursor, goodRows(batch, columns).map((row) => row.join(' '))];
    };
    await withSession(bytes, definition, null, async (session) => {
      const [range] = (await session.survey()).ranges;
      const [first, rows] = await read(session, range as Range, null);
      const [second, others] = await read(session, range as Range, first);
      expect([rows[0], rows.at(-1)]).toEqual(['1 1 long enough 1', '3000 3000 long enough 3000']);
      expect([others[0], others.at(-1)]).toEqual(['3001 3001 long enough 3001', '6000 6000 long enough 6000']);
      // Somebody else has taken it over, and it is read again, from before the place that was reached.
      expect((await read(session, range as Range, second))[1][0]).toBe('6001 6001 long enough 6001');
      expect((await read(session, range as Range, first))[1]).toEqual(others);
    });
  });

  test('are none of a range in which many records need SQL', async () => {
    const contract = contractOf(
      { i: { type: 'integer' }, name: { type: 'string', pattern: '^[0-9]+ long enough$' } },
      {},
    );
    const query = (share: number): string =>
      `select i, case when i % 100 < ${String(share)} then 'bad' else i || ' long enough' end as name from range(0, 5000) r (i)`;
    const { sure: few } = await bothWays(await parquetOf(query(5)), parquet, contract);
    expect(few.made.length).toBe(4750);
    const { sure: many } = await bothWays(await parquetOf(query(50)), parquet, contract);
    expect([many.made.length, many.rows.length, many.rejected.length]).toEqual([0, 2500, 2500]);
    const folder = mkdtempSync(join(tmpdir(), 'flux-left-'));
    try {
      const files = (session: BatchSession): Promise<string[]> =>
        session
          .survey()
          .then(({ ranges }) => session.start(ranges[0] as Range, null))
          .then(() => session.next())
          .then(() => readdirSync(folder));
      const bytes = await parquetOf(query(50));
      const found = await withSession(bytes, definitionOf('a', parquet), contract, files, { workFolder: folder });
      expect(found).toEqual(['good-1.csv']);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('leave SQL the memory that they took, once many records need it', async () => {
    const contract = contractOf({ name: { type: 'string', pattern: '^good' }, one: {}, two: {} }, {});
    const query = `select case when i % 5 = 0 then 'bad' else 'good' end || md5(i::varchar) || md5((i + 7)::varchar) as name,
      md5((i * 3)::varchar) as one, md5((i * 5)::varchar) as two from range(0, 200000) r (i)`;
    const bytes = await parquetOf(query, 200_000);
    const definition = { ...definitionOf('a', parquet), batch: { records: 50_000 } };
    // A row group is read once in so much, not twice.
    const { batches } = await runSession(bytes, definition, contract, { memoryMegabytes: 56, keepRows: false });
    expect(batches.map(({ goodCount, binaryFile }) => [goodCount, binaryFile])).toEqual(
      [10_000, 40_000, 40_000, 40_000, 30_000].map((good) => [good, null]),
    );
  });

  test('leave good records among those that others have left to SQL', async () => {
    // A text of more than 8 KiB is not looked at by the short way.
    const query = `select i, case when i % 50 = 3 then repeat('x', 9000) when i % 50 = 4 then 'bad' else 'x' || i end as name
      from range(0, 2000) r (i)`;
    const contract = contractOf({ i: { type: 'integer' }, name: { type: 'string', pattern: '^x' } }, {});
    const { sure } = await bothWays(await parquetOf(query), parquet, contract, { batchRecords: 500 });
    expect(sure.made.length).toBe(1920);
    expect(sure.rows.length).toBe(1960);
    expect(sure.rejected.length).toBe(40);
  });

  test('are judged behind a batch without records as they are elsewhere', async () => {
    const query = `select case when i % 20 in (3, 7) then 5000 else i end as n, case when i % 20 = 7 then null else 'x' || i end as name
      from range(0, 200) r (i)`;
    const properties = { n: { type: 'integer', maximum: 1000 }, name: { type: 'string' } };
    const contract = contractOf(properties, { required: ['n', 'name'] });
    const definition = { ...definitionOf('a', parquet), batch: { records: 20 } };
    const bytes = await parquetOf(query);
    const { rejected } = await runSession(bytes, definition, contract);
    const found = await withSession(bytes, definition, contract, async (session) => {
      const { ranges } = await session.survey();
      const [first, second] = ranges as [Range, Range];
      await session.start(first, JSON.stringify({ row: first.records }));
      expect((await session.next()).recordsRead).toBe(0);
      await session.start(second, null);
      const found: PreparedBatch['rejected'] = [];
      for (let last = false; !last;) {
        const batch = await session.next();
        ({ last } = batch);
        found.push(...batch.rejected);
      }
      return found;
    });
    expect(found).toEqual(rejected.filter(({ recordNo }) => recordNo > 100));
    expect(found.length).toBe(10);
  });

  test('hold long texts wherever DuckDB keeps them', async () => {
    const long = fc.stringMatching(/^[a-zé"\n]{0,60}$/);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(long, fc.constant(null)), { minLength: 1, maxLength: 200 }),
        fc.integer({ min: 1, max: 40 }),
        async (texts, copies) => {
          const values = texts.map((text) => (text === null ? '(null)' : `(${literal(text)})`)).join(', ');
          // In some order that is not the one in which a dictionary holds them.
          const query = `select t.a, repeat(t.a, r.n % 7) as b from (select a::varchar as a from (values ${values}) v(a)) t, range(0, ${String(copies)}) r (n)
            order by hash(t.a || r.n)`;
          const { sure } = await bothWays(await parquetOf(query), parquet, null);
          expect(sure.made.length).toBe(sure.rows.length);
        },
      ),
      { numRuns: 15 },
    );
  });

  const asked: readonly object[] = [
    ...[{}, { type: 'null' }, { enum: [null] }, { type: ['integer', 'string'] }, { minimum: 1 }, { pattern: '^[a-z]' }],
    ...['integer', 'number', 'string', 'boolean'].map((type) => ({ type: [type, 'null'] })),
    ...['date', 'date-time', 'local-date-time'].map((format) => ({ type: 'string', format })),
    ...[{ type: ['integer', 'null'], enum: [7] }, { const: 'a' }, { const: true }, { type: 'number', const: 0.5 }],
    { type: 'string', format: 'date', minLength: 11 },
  ];
  test.each([
    ['bigint', ['7', '0', '9007199254740993']],
    ['double', ['0.5', "'nan'", "'inf'", '7']],
    ['boolean', ['true', 'false']],
    ['date', ["'2020-01-01'", "'infinity'"]],
    ['timestamp', ["'2020-01-01 00:00:00.5'", "'infinity'"]],
    ['varchar', ["'a'", "'7'", "'2020-01-01'", "'2020-01-01T00:00:00'", "'2020-01-01T00:00:00Z'", "'true'"]],
  ])('are those that SQL accepts, whatever a contract asks of a column of %s', async (type, values) => {
    const usual = `select ${values[0] ?? ''}::${type} as v from range(0, 100)`;
    const bytes = await parquetOf(
      [usual, ...[...values, 'null'].map((value) => `select ${value}::${type}`)].join(' union all '),
    );
    let agreed = 0;
    for (const schema of asked) {
      // Of a column that can never fit the whole source is refused, by either way.
      const refused = (cause: unknown): null => {
        expect(cause, JSON.stringify(schema)).toMatchObject({ code: 'SOURCE_INVALID' });
        return null;
      };
      const both = await bothWays(bytes, parquet, contractOf({ v: schema }, {})).catch(refused);
      if (both !== null) agreed += 1;
    }
    expect(agreed).toBeGreaterThan(5);
  });

  test('hold no NUL, which a pattern would let pass', async () => {
    const query = `select case when i % 100 = 3 then 'text' || chr(0) when i % 100 = 4 then 'thirteen bytes' || chr(0) else 'text' end as name
      from range(0, 1000) r (i)`;
    const contract = contractOf({ name: { type: 'string', pattern: '^t' } }, {});
    const { sure } = await bothWays(await parquetOf(query), parquet, contract);
    expect([sure.made.length, sure.rejected.length]).toEqual([980, 20]);
  });

  test.each([
    [200, 50],
    [201, 0],
  ])('of %i columns: %i', async (count, made) => {
    const columns = Array.from({ length: count }, (_each, at) => `i + ${String(at)} as c${String(at)}`);
    const bytes = await parquetOf(`select ${columns.join(', ')} from range(0, 50) r (i)`);
    expect((await runSession(bytes, definitionOf('a', parquet), null)).made.length).toBe(made);
  });

  test('are told from a file that is damaged in the middle as SQL tells it', async () => {
    const bytes = await parquetOf(`select i, 'text ' || i as name from range(0, 100000) r (i)`, 10_000);
    bytes.fill(0xff, bytes.length / 2, bytes.length / 2 + 2_000);
    const told = async (transforms: object[]): Promise<string> => {
      const read = runSession(bytes, { ...definitionOf('a', parquet), transforms } as never, null);
      return read.then(
        () => 'read',
        (error: unknown) => (error as Error).message,
      );
    };
    const [short, long] = [await told([]), await told([{ type: 'filter', sql: 'true' }])];
    expect(short).not.toBe('read');
    expect(short).toBe(long);
  });
});
