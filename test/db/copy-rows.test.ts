import { existsSync } from 'node:fs';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { copyFile } from '../../src/db/copy-file.ts';
import { ident, join, sql, toQuery } from '../../src/db/sql.ts';
import type { PreparedBatch } from '../../src/etl/protocol.ts';
import { contractOf, definitionOf } from '../support/etl.ts';
import { useDatabase } from '../support/database.ts';
import { withSession } from '../unit/etl/session.ts';

const database = useDatabase();
const alive = new AbortController().signal;

const contract = contractOf(
  {
    id: { type: 'integer' },
    amount: { type: ['number', 'null'] },
    note: { type: ['string', 'null'] },
    flag: { type: ['boolean', 'null'] },
    day: { type: ['string', 'null'], format: 'date' },
    at: { type: ['string', 'null'], format: 'date-time' },
    local: { type: ['string', 'null'], format: 'local-date-time' },
  },
  { required: ['id'], additionalProperties: false },
);
const names = ['id', 'amount', 'note', 'flag', 'day', 'at', 'local'] as const;
const columns = [
  sql`_flux_record bigint`,
  sql`id bigint`,
  sql`amount double precision`,
  sql`note text`,
  sql`flag boolean`,
  sql`day date`,
  sql`at timestamptz`,
  sql`local timestamp`,
];

const days = fc
  .date({ min: new Date('1000-01-01T00:00:00Z'), max: new Date('9998-12-31T00:00:00Z'), noInvalidDate: true })
  .map((date) => date.toISOString().slice(0, 10));
const numbers = fc.oneof(
  fc.integer(),
  fc.constantFrom(0, -1, 4_294_967_295, 4_294_967_296, -4_294_967_296, -4_294_967_297, 999_999_999_999_999),
);
const times = fc
  .tuple(fc.integer({ min: 0, max: 86_399 }), fc.constantFrom('', '.5', '.25', '.000001', '.123456', '.999999'))
  .map(([second, fraction]) => `${new Date(second * 1000).toISOString().slice(11, 19)}${fraction}`);
const records = fc.array(
  fc.record({
    id: numbers,
    amount: fc.option(
      fc.oneof(
        numbers,
        fc.tuple(numbers, fc.integer({ min: 0, max: 6 })).map(([value, places]) => (value % 1e8) / 10 ** places),
      ),
    ),
    note: fc.option(fc.string({ unit: fc.constantFrom('a', ',', '"', '\\', 'é', '😀', ' ', 'N', "'"), minLength: 1 })),
    flag: fc.option(fc.boolean()),
    day: fc.option(days),
    at: fc.option(fc.tuple(days, times).map(([day, time]) => `${day}T${time}Z`)),
    local: fc.option(fc.tuple(days, times).map(([day, time]) => `${day}T${time}`)),
  }),
  { minLength: 1, maxLength: 40 },
);
type Records = (typeof records extends fc.Arbitrary<infer T> ? T : never)[number][];

const plain = (value: unknown): string =>
  typeof value === 'number' ? value.toFixed(12).replace(/\.?0+$/, '') : String(value);
const csvOf = (of: Records): string =>
  [
    names.join(','),
    ...of.map((record) =>
      names
        .map((name) => {
          const value = record[name];
          if (value === null) return '';
          const text = plain(value);
          return name === 'note' ? `"${text.replaceAll('"', '""')}"` : text;
        })
        .join(','),
    ),
    '',
  ].join('\n');
const ndjsonOf = (of: Records): string => of.map((record) => `${JSON.stringify(record)}\n`).join('');

describe('rows that are made without DuckDB', () => {
  it.each([
    ['csv', csvOf],
    ['ndjson', ndjsonOf],
  ] as const)('of %s are what PostgreSQL makes of those that DuckDB writes', async (type, contentOf) => {
    let made = 0;
    await database.admin().withConnection(async (connection) => {
      const load = async (table: string, content: string, transforms: { type: 'filter'; sql: string }[]) => {
        await connection.query(sql`drop table if exists pg_temp.${ident(table)}`);
        await connection.query(sql`create temp table ${ident(table)} (${join(columns)})`);
        const definition = { ...definitionOf('a', { type }), transforms };
        return withSession(content, definition, contract, async (session) => {
          const [range] = (await session.survey()).ranges;
          if (range === undefined) throw new Error('no range');
          await session.start(range, null);
          const batch: PreparedBatch = await session.next();
          expect(batch.last).toBe(true);
          const into = join(['_flux_record', ...batch.columns].map((name) => ident(name)));
          const copy = (path: string, format: 'binary' | 'csv'): Promise<number> => {
            const formats = { binary: sql`binary`, csv: sql`csv` };
            const { text } = toQuery(sql`copy ${ident(table)} (${into}) from stdin (format ${formats[format]})`);
            return copyFile(connection.client, text, path, alive);
          };
          const { binaryFile } = batch;
          if (binaryFile) expect(await copy(binaryFile.path, 'binary')).toBe(binaryFile.count);
          if (existsSync(batch.goodFile)) await copy(batch.goodFile, 'csv');
          return binaryFile?.count ?? 0;
        });
      };
      await fc.assert(
        fc.asyncProperty(records, async (of) => {
          const content = contentOf(of);
          made += await load('made', content, []);
          expect(await load('written', content, [{ type: 'filter', sql: 'true' }])).toBe(0);
          const { rows } = await connection.query<{ made: string; written: string }>(sql`
            select coalesce(made::text, '') as made, coalesce(written::text, '') as written
            from made full join written using (_flux_record)
            where made::text is distinct from written::text
          `);
          expect(rows).toEqual([]);
          const { rows: counts } = await connection.query<{ count: bigint }>(sql`select count(*) from made`);
          expect(Number(counts[0]?.count)).toBe(of.length);
        }),
        { numRuns: 40 },
      );
    });
    expect(made).toBeGreaterThan(100);
  });
});
