import { describe, expect, test } from 'vitest';
import { contractOf, definitionOf } from '../../support/etl.ts';
import { runSession } from './session.ts';

type Transforms = NonNullable<Parameters<typeof definitionOf>[2]>['transforms'];

const contract = contractOf({
  'Flight Date': { type: 'string', format: 'date' },
  cost: { type: 'integer', minimum: 0 },
  state: { type: 'string' },
});
const text = 'Flight Date,cost,state\n2020-02-29,10,CA\n2021-03-01,-1,NY\n2021-04-01,30,\n2022-05-01,0,TX\n';

const run = (
  transforms: NonNullable<Transforms>,
  content = text,
  document: Record<string, unknown> | null = contract,
) => runSession(content, definitionOf('a.csv', { type: 'csv' }, { transforms }), document);

describe('transforms', () => {
  test('rename at once, derive, filter and cast, in order, and count what each does', async () => {
    const result = await run([
      { type: 'rename', columns: { 'Flight Date': 'cost', cost: 'amount' } },
      { type: 'derive', column: 'year', sql: 'year(cost) -- of the flight' },
      { type: 'filter', rule: 'with a state', sql: "state <> ''" },
      { type: 'filter', rule: 'not free', sql: 'amount > 0' },
      { type: 'derive', column: 'amount', sql: 'amount / 4' },
      { type: 'cast', column: 'year', to: 'text' },
    ]);
    expect(result.survey.columns).toEqual([
      { name: 'cost', type: 'date' },
      { name: 'amount', type: 'double precision' },
      { name: 'state', type: 'text' },
      { name: 'year', type: 'text' },
    ]);
    expect(result.rows).toEqual([['1', '2020-02-29', '2.5', 'CA', '2020']]);
    expect(result.rejected.map(({ recordNo }) => recordNo)).toEqual([2]);
    expect(
      result.batches[0]?.steps.map((step) => [
        step.step,
        step.kind,
        step.recordsIn,
        step.recordsRejected,
        step.recordsFiltered,
        step.recordsOut,
      ]),
    ).toEqual([
      ['read', 'read', 4, 0, 0, 4],
      ['validate', 'validate', 4, 1, 0, 3],
      ['rename', 'row', 3, 0, 0, 3],
      ['derive year', 'row', 3, 0, 0, 3],
      ['filter with a state', 'filter', 3, 0, 1, 2],
      ['filter not free', 'filter', 2, 0, 1, 1],
      ['derive amount', 'row', 1, 0, 0, 1],
      ['cast year', 'row', 1, 0, 0, 1],
      ['write', 'write', 1, 0, 0, 1],
    ]);
  });

  test('never show an expression a record that the contract refused or a filter left out', async () => {
    const result = await run([
      { type: 'filter', rule: 'numbers only', sql: "state <> 'CA'" },
      { type: 'derive', column: 'digit', sql: "case state when 'CA' then cast('boom' as integer) else 1 end" },
      { type: 'derive', column: 'root', sql: 'sqrt(cost)' },
    ]);
    expect(result.rows.map((row) => row[0])).toEqual(['4']);
  });

  test.for([
    ['bigint', '-007', '-7'],
    ['double precision', '.5e1', '5.0'],
    ['numeric', '12345678901234567890.5', '12345678901234567890.5000000000'],
    ['boolean', 'TRUE', 'true'],
    ['date', '2020-02-29', '2020-02-29'],
    ['timestamp', '2020-02-29T10:00:00.25', '2020-02-29 10:00:00.25'],
    ['timestamptz', '2020-02-29t10:00:00+01:00', '2020-02-29 09:00:00+00'],
    ['jsonb', '{"a": 1}', '{"a": 1}'],
  ] as const)('cast text to %s', async ([to, from, expected]) => {
    const result = await run([{ type: 'cast', column: 'v', to }], `v\n"${from.replaceAll('"', '""')}"\n`, null);
    expect(result.survey.columns).toEqual([{ name: 'v', type: to }]);
    expect(result.rows).toEqual([['1', expected]]);
  });

  test('cast by a format', async () => {
    const result = await run([{ type: 'cast', column: 'v', to: 'date', format: '%m/%d/%Y' }], 'v\n02/29/2020\n', null);
    expect(result.rows).toEqual([['1', '2020-02-29']]);
  });

  test.for([
    ['bigint', '1.5'],
    ['bigint', '0x1F'],
    ['bigint', '9223372036854775808'],
    ['double precision', '1_000'],
    ['numeric', '0.12345678901'],
    ['boolean', 'yes'],
    ['date', 'epoch'],
    ['date', '2021-02-29'],
    ['timestamptz', '2020-01-01T00:00:00'],
    ['jsonb', '{a'],
  ] as const)('fail the run where a cast to %s would have to guess about %s', async ([to, value]) => {
    const content = `v\n\n"${value}"\n`;
    await expect(run([{ type: 'cast', column: 'v', to }], content, null)).rejects.toMatchObject({
      code: 'TRANSFORM_FAILED',
      message: expect.stringContaining(`of record 1`) as string,
    });
  });

  test('fail the run where an expression fails on a record', async () => {
    await expect(run([{ type: 'derive', column: 'n', sql: 'cast(state as integer)' }])).rejects.toMatchObject({
      code: 'TRANSFORM_FAILED',
    });
  });

  test.for([
    ['a subquery', '(select 1)'],
    ['a file', "(select content from read_text('/etc/passwd'))"],
    ['another table', 'exists(select * from duckdb_settings())'],
    ['a window', 'row_number() over ()'],
    ['an aggregate', 'sum(cost)'],
    ['chance', 'random()'],
    ['the clock', 'now()'],
    ['the clock by a keyword', 'current_date'],
    ['the environment', "getenv('HOME')"],
    ['a setting', "current_setting('memory_limit')"],
    ['an end of the process', "error('x')"],
    ['two expressions', '1), (2'],
    ['a second statement', '1); drop table x; select (1'],
    ['a comment that swallows our text', '1 /*'],
    ['a star', '*'],
    ['a parameter', '$1'],
    ['a column that is not there', 'nothing + 1'],
    ['a column of ours', '_flux_state'],
    ['no SQL', 'cost +'],
    ['a NUL', "'\0'"],
    ['a macro over a table', "query('select 1')"],
    ['a type that does not fit', 'cost + [1]'],
  ] as const)('refuse %s before the first record', async ([, sql]) => {
    await expect(run([{ type: 'derive', column: 'n', sql }])).rejects.toMatchObject({ code: 'INVALID_INPUT' });
  });

  test.for([
    ['a filter that is no condition', { type: 'filter', rule: 'r', sql: 'cost' }],
    ['a rename of nothing', { type: 'rename', columns: { nothing: 'x' } }],
    ['a rename onto another column', { type: 'rename', columns: { cost: 'state' } }],
    ['a zone out of nowhere', { type: 'cast', column: 'Flight Date', to: 'timestamptz' }],
    ['a format for a number', { type: 'cast', column: 'cost', to: 'date', format: '%Y' }],
    ['a join of what the run has no records of', { type: 'join', dataset: 'x', on: {}, columns: [] }],
    ['a column of Flux’s own', { type: 'derive', column: '_flux_load', sql: '1' }],
  ] as const)('refuse %s', async ([, transform]) => {
    await expect(run([transform])).rejects.toMatchObject({ code: 'INVALID_INPUT' });
  });

  test('may use columns whose names look like parts of SQL', async () => {
    const result = await run(
      [{ type: 'derive', column: 'x', sql: '"select" || "order_by"' }],
      'select,"order by"\na,b\n',
      null,
    );
    expect(result.rows).toEqual([['1', 'a', 'b', 'ab']]);
  });

  test('must leave the destination’s key', async () => {
    const definition = definitionOf(
      'a.csv',
      { type: 'csv' },
      { destination: { type: 'postgres', dataset: 'd', mode: 'merge', key: ['id'] } },
    );
    await expect(runSession(text, definition, contract)).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      message: expect.stringContaining('key names id') as string,
    });
  });
});
