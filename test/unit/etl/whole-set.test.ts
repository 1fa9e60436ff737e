import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DuckDbSession } from '../../../src/etl/duckdb/session.ts';
import type { PipelineDefinition } from '../../../src/etl/engine-types.ts';
import { ExpressionRules } from '../../../src/etl/transform/expression.ts';
import { functionsOf } from '../../../src/etl/transform/own-functions.ts';
import { kAnonymityStep } from '../../../src/etl/transform/whole-steps.ts';
import { runApart } from '../../../src/etl/transform/run-apart.ts';
import { definitionOf, type EtlBench, etlBench } from '../../support/etl.ts';
import { parseCsv } from '../../support/csv.ts';

type Transforms = NonNullable<PipelineDefinition['transforms']>;

const contract = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Visit',
  type: 'object',
  required: ['id'],
  properties: {
    id: { type: 'integer' },
    person: { type: 'string' },
    state: { type: 'string' },
    age: { type: 'integer' },
    seen: { type: 'string', format: 'date' },
    note: { type: 'string' },
  },
};

const people = [
  '1,ann,MD,31,2020-01-15,ok',
  '2,bob,MD,38,2020-03-02,call 202-555-0143',
  '3,ann,VA,31,2021-07-30,ssn 219-09-9999',
  '4,cyd,MD,33,2020-11-11,mail a@example.gov',
  'x,bad,MD,1,2020-01-01,rejected',
  '5,dee,VA,-4,2021-01-01,',
];

const saltOf = (agency: string, name: string): Buffer => Buffer.from(`${agency} ${name}`.padEnd(32, '.'));

describe('steps that need all records', () => {
  let bench: EtlBench;
  beforeAll(async () => {
    bench = await etlBench({ saltOf });
    await bench.put('people.csv', `id,person,state,age,seen,note\n${people.join('\n')}\n`);
  });
  afterAll(() => bench.remove());

  const definition = (transforms: Transforms): PipelineDefinition => ({
    ...definitionOf('people.csv', { type: 'csv' }, { transforms }),
    batch: { records: 2 },
  });
  const run = (transforms: Transforms) => bench.run(definition(transforms), contract);
  const stepOf = ({ steps }: Awaited<ReturnType<typeof run>>, name: RegExp) => {
    const found = steps.find(({ step }) => name.test(step));
    return found && [found.recordsIn, found.recordsOut, found.recordsFiltered];
  };

  test('deduplicate keeps one record a key, the first or the last, and counts the others', async () => {
    const first = await run([{ type: 'deduplicate', key: ['person'] }]);
    expect(first.rows.map(([record, id]) => [record, id])).toEqual([
      ['1', '1'],
      ['2', '2'],
      ['4', '4'],
      ['6', '5'],
    ]);
    expect(stepOf(first, /^deduplicate/)).toEqual([5, 4, 1]);
    expect(first.rejected.map(({ recordNo }) => recordNo)).toEqual([5]);
    const last = await run([{ type: 'deduplicate', key: ['person'], keep: 'last' }]);
    expect(last.rows.map(([, id]) => id)).toEqual(['2', '3', '4', '5']);
  });

  test('aggregate gives a record a group in the order of the keys, between steps row by row', async () => {
    const result = await run([
      { type: 'filter', rule: 'ages that are', sql: 'age > 0' },
      { type: 'aggregate', groupBy: ['state'], measures: { visits: 'count(*)', oldest: 'max(age)' } },
      { type: 'derive', column: 'twice', sql: 'visits * 2' },
      { type: 'filter', rule: 'more than one', sql: 'visits > 1' },
    ]);
    expect(result.plan.columns.map(({ name }) => name)).toEqual(['state', 'visits', 'oldest', 'twice']);
    expect(result.rows).toEqual([['1', 'MD', '3', '38', '6']]);
    expect(result.steps.map(({ kind, recordsIn, recordsOut }) => [kind, recordsIn, recordsOut])).toEqual([
      ['read', 6, 6],
      ['validate', 6, 5],
      ['filter', 5, 4],
      ['aggregate', 4, 2],
      ['row', 2, 2],
      ['filter', 2, 1],
      ['write', 1, 1],
    ]);
  });

  test('sql sees the records as one table, and its result is in its own order or in that of its values', async () => {
    const sql = `with s as (select state, sum(age)::bigint as ages from records group by state)
      select r.id, s.ages, row_number() over (partition by r.state order by r.id)::bigint as nth
      from records r join s using (state) where r.id in (select max(id) from records group by person)`;
    const values = await run([{ type: 'sql', sql }]);
    expect(values.rows.map(([, ...row]) => row)).toEqual([
      ['2', '102', '1'],
      ['3', '27', '1'],
      ['4', '102', '2'],
      ['5', '27', '2'],
    ]);
    const ordered = await run([{ type: 'sql', sql: 'select id from records order by id desc' }]);
    expect(ordered.rows.map(([, id]) => id)).toEqual(['5', '4', '3', '2', '1']);
  });

  describe('the lists', () => {
    let session: DuckDbSession;
    let rules: ExpressionRules;
    beforeAll(async () => {
      session = await DuckDbSession.open({ memoryMegabytes: 128, paths: [], folders: [], functions: functionsOf({}) });
      rules = new ExpressionRules(session);
    });
    afterAll(() => session.close());

    test.each([
      ["select * from read_csv('/etc/passwd')", 'reads read_csv()'],
      ["select * from '/etc/passwd'", 'reads "/etc/passwd"'],
      ["select * from read_text('/proc/self/environ')", 'reads read_text()'],
      ["select content from glob('/etc/*') g, read_blob(g.file)", 'reads glob()'],
      ['select * from duckdb_settings()', 'reads duckdb_settings()'],
      ['select * from information_schema.tables', 'reads "tables"'],
      ['select * from sqlite_master', 'reads "sqlite_master"'],
      ["select getenv('HOME') from records", 'calls getenv()'],
      ["select current_setting('temp_directory')", 'calls current_setting()'],
      ['select random() from records', 'calls random()'],
      ['select now() from records', 'calls'],
      ['select gen_random_uuid() from records', 'calls gen_random_uuid()'],
      ['select * from records using sample 10%', 'sample'],
      ["select _flux_hash('agency', 'x') from records", 'calls _flux_hash()'],
      ['with recursive r(n) as (select 1 union all select n + 1 from r) select * from r', 'recursive'],
      ['select 1; select 2', 'one query'],
      ["copy records to '/tmp/x'", 'no query'],
      ["attach '/tmp/x' as x", 'no query'],
      ['install httpfs', 'no query'],
      ['pragma database_list', ''],
      ["set memory_limit = '9GB'", 'no query'],
      ["export database '/tmp/x'", 'no query'],
      [
        "select * from (values (1)) t where exists (from 'https://example.gov/x.csv')",
        'reads "https://example.gov/x.csv"',
      ],
      ['select id from records)--', 'no query'],
    ])('refuses %s', async (sql, why) => {
      const refusal = await rules.checkQuery(sql, '/sql').catch((cause: unknown) => cause);
      expect(refusal).toMatchObject({ code: 'INVALID_INPUT' });
      expect((refusal as Error).message).toContain(why);
    });
  });

  test('a query that passed the lists all the same could open nothing but its own records', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'flux-apart-'));
    const secret = join(folder, 'source.csv');
    await writeFile(secret, 'ssn\n219-09-9999\n');
    const session = await DuckDbSession.open({ memoryMegabytes: 128, paths: [], folders: [folder] });
    try {
      await session.run('create temp table t as select 1::bigint as _flux_record, 7 as id');
      const apart = (sql: string): Promise<void> =>
        runApart(session, { sql, from: 't', into: 'made' }, { folder, memoryMegabytes: 128 });
      for (const sql of [
        `select * from read_csv('${secret}')`,
        `select * from glob('${folder}/*')`,
        "select * from read_text('/etc/hostname')",
        "select * from read_csv('https://example.gov/x.csv')",
      ]) {
        await expect(apart(sql)).rejects.toThrow(/Permission Error|disabled|not allowed/i);
      }
      await apart('select id * 2 as id from records');
      expect(await session.rows('select * from made')).toEqual([[1n, 14]]);
    } finally {
      session.close();
      await rm(folder, { recursive: true });
    }
  });

  test('a query that takes all memory fails the run, and one that does not end is killed with its process', async () => {
    const all = 'select list(i) as l from range(2000000000) t(i)';
    await expect(run([{ type: 'sql', sql: all }])).rejects.toMatchObject({ code: 'TRANSFORM_FAILED' });
    const hasty = await etlBench({ stepTimeoutMs: 6_000, root: bench.sources });
    try {
      const sql = 'select count(*) as n from range(1000000) a, range(1000000) b, range(1000000) c';
      await expect(hasty.run(definition([{ type: 'sql', sql }]), contract)).rejects.toMatchObject({
        code: 'UNAVAILABLE',
      });
    } finally {
      await hasty.remove();
    }
  }, 60_000);

  test('sterilise hashes, blurs, masks and drops, and the same identifier stays the same', async () => {
    const { rows, plan } = await run([
      {
        type: 'sterilise',
        hash: ['person'],
        generalise: { age: { band: 10 }, seen: { date: 'year' } },
        redact: ['note'],
        drop: ['id'],
      },
    ]);
    expect(plan.columns.map(({ name }) => name)).toEqual(['person', 'state', 'age', 'seen', 'note']);
    const [ann, bob, annAgain, , dee] = rows;
    expect(ann?.[1]).toMatch(/^[0-9a-f]{32}$/);
    expect(annAgain?.[1]).toBe(ann?.[1]);
    expect(bob?.[1]).not.toBe(ann?.[1]);
    expect(ann?.slice(2)).toEqual(['MD', '30', '2020-01-01', 'ok']);
    expect([bob?.[5], annAgain?.[5]]).toEqual(['call [phone]', 'ssn [ssn]']);
    expect([dee?.[3], dee?.[5]]).toEqual(['-10', null]);
  });

  test('hashes of one agency are not those of another, unless both have the salt of a linkage', () => {
    const both = Buffer.alloc(32, 9).toString('hex');
    const hashOf = (agency: string) => {
      const salts = { agency: saltOf(agency, 'agency').toString('hex'), 'linkage:study': both };
      const hash = functionsOf({ salts }).find(({ parameters }) => parameters === 2);
      return (salt: string) => hash?.call([salt, 'ann']);
    };
    const [one, other] = [hashOf('test'), hashOf('other')];
    expect(one('agency')).not.toBe(other('agency'));
    expect(one('linkage:study')).toBe(other('linkage:study'));
    expect(one('linkage:study')).not.toBe(one('agency'));
    expect(() => one('linkage:another')).toThrow(/no salt "linkage:another"/);
  });

  test('suppresses groups below k and cells below the minimum, and counts them', async () => {
    const kAnonymity = { k: 3, columns: ['state'] };
    const grouped = await run([{ type: 'sterilise', generalise: { age: { band: 10 } }, kAnonymity }]);
    expect(grouped.rows.map(([, id]) => id)).toEqual(['1', '2', '4']);
    expect(stepOf(grouped, /^k-anonymity/)).toEqual([5, 3, 2]);
    const cells = await run([
      { type: 'aggregate', groupBy: ['state'], measures: { people: 'count(*)', none: '0' } },
      { type: 'sterilise', minimumCell: { count: 'people', minimum: 3 } },
    ]);
    expect(cells.rows).toEqual([['1', 'MD', '3', '0']]);
    expect(stepOf(cells, /^minimum cell/)).toEqual([2, 1, 1]);
  });

  const totals = [
    'select state, count(*) as people from records group by rollup (state)',
    'select state, count(*) as people from records group by grouping sets ((state), ())',
    'select state, count(*) as people from records group by 1 union all select null, count(*) from records',
    'select state, count(*) as people, sum(count(*)) over () as everyone from records group by state',
    'select state, count(*) as people, (select count(*) from records) as everyone from records group by state',
    "select s as state, count(*) as people from records, unnest([state, 'all']) t(s) group by s",
    'with t as (select count(*) as n from records) select state, count(*) as people, any_value(n) as n from records, t group by state',
  ];
  const cells = { type: 'sterilise', minimumCell: { count: 'people', minimum: 3 } };

  test.each(totals)('refuses to suppress cells beside totals: %s', async (sql) => {
    await expect(run([{ type: 'sql', sql }, cells])).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      message: expect.stringMatching(
        /^Transform 2 suppresses small cells, and the query of transform 1 may publish totals/,
      ) as string,
    });
  });

  test('has no totals beside cells of one grouping, or the author vouches for that', async () => {
    const one = 'select state, count(*) as people from records group by state';
    expect((await run([{ type: 'sql', sql: one }, cells])).rows).toEqual([['1', 'MD', '3']]);
    const vouched = { type: 'sterilise', minimumCell: { count: 'people', minimum: 3, totals: 'none' } };
    const apart = `select * from (${one})`;
    expect((await run([{ type: 'sql', sql: apart }, vouched])).rows.map(([, ...row]) => row)).toEqual([['MD', '3']]);
  });

  test('can write no total beside the cells of an aggregate', async () => {
    const window = { type: 'aggregate', groupBy: ['state'], measures: { everyone: 'sum(count(*)) over ()' } };
    const within = { type: 'aggregate', groupBy: ['state'], measures: { everyone: '(select count(*) from records)' } };
    for (const transform of [window, within])
      await expect(run([transform])).rejects.toMatchObject({ code: 'INVALID_INPUT' });
  });

  test('leaves no group below k, whatever the records', async () => {
    const session = await DuckDbSession.open({ memoryMegabytes: 128, paths: [], folders: [] });
    const record = fc.tuple(fc.constantFrom('MD', 'VA', null, 'DC'), fc.constantFrom(1, 2, null));
    const keyOf = ([state, age]: readonly unknown[]): string => JSON.stringify([state, age]);
    try {
      await fc.assert(
        fc.asyncProperty(
          fc.array(record, { minLength: 1, maxLength: 25 }),
          fc.integer({ min: 2, max: 4 }),
          async (list, k) => {
            const rows = list.map(
              ([state, age], at) => `(${at}, ${state === null ? 'null' : `'${state}'`}, ${age ?? 'null'}::int)`,
            );
            await session.run(
              `create or replace temp table drawn as from (values ${rows.join(', ')}) t(_flux_record, state, age)`,
            );
            const step = kAnonymityStep(k, ['state', 'age']);
            await session.run(`create or replace temp table kept as ${step.query('drawn')}`);
            await step.prove?.(session, 'kept');
            const kept = (await session.rows('select state, age from kept')).map(keyOf).sort();
            const sizes = Map.groupBy(list, keyOf);
            expect(kept).toEqual(
              list
                .map(keyOf)
                .filter((key) => (sizes.get(key)?.length ?? 0) >= k)
                .sort(),
            );
          },
        ),
        { numRuns: 60 },
      );
      await session.run("create or replace temp table kept as select 1 as _flux_record, 'MD' as state");
      await expect(kAnonymityStep(2, ['state']).prove?.(session, 'kept')).rejects.toMatchObject({ code: 'INTERNAL' });
    } finally {
      session.close();
    }
  });

  test('the same bytes give the same bytes, from the beginning and from every checkpoint', async () => {
    const transforms: Transforms = [
      { type: 'derive', column: 'decade', sql: 'age // 10' },
      { type: 'deduplicate', key: ['person'], keep: 'last' },
      { type: 'sql', sql: 'select *, avg(age) over (partition by state) as mean from records' },
      { type: 'sterilise', hash: ['person'] },
    ];
    const object = await bench.pin(definition(transforms));
    const { signal } = new AbortController();
    const request = {
      agency: 'test',
      definition: definition(transforms),
      contract,
      object,
      workFolder: bench.workFolder,
      signal,
    };
    const plan = await bench.engine.planSource(request);
    expect(plan.ranges).toHaveLength(1);
    const range = plan.ranges[0] ?? {};
    const read = async (cursor: string | null): Promise<{ cursor: string; text: string; counts: number[] }[]> => {
      const batches = [];
      for await (const batch of bench.engine.openBatches({ ...request, range, cursor })) {
        const text = batch.goodCount === 0 ? '' : await readFile(batch.goodFile, 'utf8');
        batches.push({ cursor: batch.cursor, text, counts: batch.steps.map(({ recordsOut }) => recordsOut) });
        await batch.release();
      }
      return batches;
    };
    const whole = await read(null);
    expect(parseCsv(whole.map(({ text }) => text).join('')).length).toBe(4);
    expect(await read(null)).toEqual(whole);
    for (const [at, { cursor }] of whole.slice(0, -1).entries()) {
      expect(await read(cursor)).toEqual(whole.slice(at + 1));
    }
  }, 60_000);
});
