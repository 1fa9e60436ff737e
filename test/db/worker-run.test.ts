import { writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';

import { beforeAll, describe, expect, it } from 'vitest';

import { ident, type Sql, sql } from '../../src/db/sql.ts';
import type { EtlEngine } from '../../src/etl/engine-types.ts';
import { executePartition } from '../../src/worker/execute-partition.ts';
import { auditBodies } from '../support/audit.ts';
import { useDatabase } from '../support/database.ts';
import { fakeEngine } from '../support/fake-engine.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);

beforeAll(() => database.addAgency('nasa'));

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

async function one<T extends object>(query: Sql): Promise<T> {
  const { rows } = await database.admin().query<T>(query);
  return rows[0] as T;
}

describe('a whole run', () => {
  it('plans, commits every batch of every partition, reconciles, and shows the load at once', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'whole', dataset: 'whole' });
    const runId = await bench.queueRun('nasa', 'whole', { traceId: 'trace-1' });
    const engine = fakeEngine({ values: [1, 2, 'bad', 4, 'drop', 6, 7, 8, 9, 10], partitions: 2, batchRecords: 2 });
    const outcomes = await bench.drain(await bench.deps(engine));

    expect(outcomes).toEqual(['completed', 'completed', 'completed', 'completed']);
    const run = await one<{ status: string; records_total: bigint }>(
      sql`select * from flux.runs where run_id = ${runId}`,
    );
    expect(run).toMatchObject({ status: 'COMPLETED', records_total: 10n, failure_code: null });

    const { rows: events } = await database.admin().query<{ name: string; seq: bigint; trace_id: string }>(sql`
      select name, seq, trace_id from flux.run_events where run_id = ${runId} order by seq
    `);
    expect(events.map(({ seq }) => Number(seq))).toEqual(events.map((_, i) => i + 1));
    expect(events.map(({ name }) => name).slice(0, 8)).toEqual([
      'RunQueued',
      'RunStarted',
      'PartitionClaimed',
      'PlanMade',
      'StageStarted',
      'StageStarted',
      'StageStarted',
      'PartitionClaimed',
    ]);
    expect(events.map(({ name }) => name).slice(-5)).toEqual([
      'StageCompleted',
      'StageCompleted',
      'StageCompleted',
      'LoadPublished',
      'RunCompleted',
    ]);
    expect(events.filter(({ name }) => name === 'BatchCommitted')).toHaveLength(6);
    expect(new Set(events.map(({ trace_id }) => trace_id))).toEqual(new Set(['trace-1']));

    const { rows } = await database
      .agencyPool('nasa', 'ro')
      .query(sql`select id, value from lake_nasa.whole order by id`);
    expect(rows).toHaveLength(8);
    const rejected = await one<{ record_no: bigint; reasons: unknown }>(
      sql`select * from flux.rejected_records where run_id = ${runId}`,
    );
    expect(rejected).toMatchObject({ record_no: 3n, contract_name: 'numbers', contract_version: 1, raw: 'bad' });
    const counts = await one(sql`
      select sum(records_read)::int as read, sum(records_written)::int as written, sum(records_rejected)::int as rejected,
        sum(records_filtered)::int as filtered, sum(bytes_read)::int as bytes
      from flux.run_partitions where run_id = ${runId}
    `);
    expect(counts).toEqual({ read: 10, written: 8, rejected: 1, filtered: 1, bytes: 100 });
    const audit = (await auditBodies(database, 'nasa')).filter(({ resourceId }) => resourceId === runId);
    // The plan, two partitions of batches and the publication are taken each once.
    expect(audit.filter(({ action }) => action === 'partition.take')).toHaveLength(4);
    expect(audit.map(({ action }) => action).filter((action) => action !== 'partition.take')).toEqual([
      'run.plan',
      ...Array.from({ length: 6 }, () => 'batch.commit'),
      'run.complete',
    ]);
    expect(audit[0]).toMatchObject({
      traceId: 'trace-1',
      agencyId: 'nasa',
    });
  });

  it('leaves the load invisible to the lake’s readers while it is open', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'hidden', dataset: 'hidden' });
    await bench.queueRun('nasa', 'hidden');
    const deps = await bench.deps(fakeEngine({ values: numbers(3), partitions: 1, batchRecords: 3 }));
    const alive = new AbortController().signal;
    await executePartition(deps, await bench.claim(), alive); // plan
    await executePartition(deps, await bench.claim(), alive); // its batch
    const reader = database.agencyPool('nasa', 'ro');
    expect((await reader.query(sql`select * from lake_nasa.hidden`)).rows).toHaveLength(0);
    await expect(reader.query(sql`select * from lake_nasa.hidden__l1`)).rejects.toMatchObject({ code: '42501' });
    expect(await bench.drain(deps)).toEqual(['completed']); // publish
    expect((await reader.query(sql`select * from lake_nasa.hidden`)).rows).toHaveLength(3);
  });

  it('takes the source that the payload names', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'elsewhere', dataset: 'elsewhere' });
    await bench.queueRun('nasa', 'elsewhere', { source: 'other/list' });
    const engine = fakeEngine({ values: numbers(1), partitions: 1, batchRecords: 3 });
    const asked: string[] = [];
    const deps = await bench.deps({
      ...engine,
      pinSource: (request) => {
        asked.push(request.source.path);
        return engine.pinSource(request);
      },
    });
    await bench.drain(deps);
    expect(asked).toEqual(['other/list']);
  });

  it('completes a source that holds nothing for a partition', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'none', dataset: 'none' });
    await bench.queueRun('nasa', 'none');
    const outcomes = await bench.drain(await bench.deps(fakeEngine({ values: [], partitions: 1, batchRecords: 2 })));
    expect(outcomes).toEqual(['completed', 'completed', 'completed']);
  });
});

describe('publishing', () => {
  const load = async (
    pipeline: string,
    values: (number | 'bad' | 'drop')[],
    columns?: { name: string; type: 'bigint' | 'text' }[],
  ) => {
    const runId = await bench.queueRun('nasa', pipeline);
    const source = { values, partitions: 1, batchRecords: 100, ...(columns ? { columns } : {}) };
    await bench.drain(await bench.deps(fakeEngine(source)));
    return one<{ status: string; failure_code: string | null; failure_message: string }>(
      sql`select * from flux.runs where run_id = ${runId}`,
    );
  };
  const values = async (dataset: string): Promise<number[]> => {
    const { rows } = await database
      .admin()
      .query<{ value: bigint }>(sql`select value from ${ident('lake_nasa', dataset)} order by 1`);
    return rows.map(({ value }) => Number(value));
  };

  it('append puts a load beside the earlier ones', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'app', dataset: 'app' });
    await load('app', [1, 2]);
    await load('app', [2, 3]);
    expect(await values('app')).toEqual([1, 2, 2, 3]);
  });

  it('replace puts a load in place of the earlier ones, and removes them', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'rep', dataset: 'rep', mode: 'replace' });
    await load('rep', [1, 2]);
    await load('rep', [7]);
    expect(await values('rep')).toEqual([7]);
    const { rows } = await database
      .admin()
      .query(sql`select status from flux.loads where dataset = 'rep' order by load_no`);
    expect(rows).toEqual([{ status: 'SUPERSEDED' }, { status: 'PUBLISHED' }]);
    expect(await one(sql`select to_regclass('lake_nasa.rep__l1') as gone`)).toEqual({ gone: null });
  });

  it('merge replaces rows of the same key, and of one load keeps the record that came last', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'mer', dataset: 'mer', mode: 'merge', key: ['value'] });
    await load('mer', [1, 2, 3]);
    const run = await load('mer', [3, 9, 3]);
    expect(run.status).toBe('COMPLETED');
    const { rows } = await database.admin().query<{ value: bigint; id: bigint; l: bigint }>(sql`
      select value, id, _flux_load as l from lake_nasa.mer order by value
    `);
    expect(rows.map(({ value, id, l }) => [value, id, l].map(Number))).toEqual([
      [1, 1, 1],
      [2, 2, 1],
      [3, 3, 2],
      [9, 2, 2],
    ]);
  });

  it('merge without a key, or with one that is no column, fails before anything is loaded', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'nokey', dataset: 'nokey', mode: 'merge' });
    expect(await load('nokey', [1])).toMatchObject({ status: 'FAILED', failure_code: 'DESTINATION_CONFLICT' });
    await bench.addPipeline({ agency: 'nasa', name: 'badkey', dataset: 'badkey', mode: 'merge', key: ['other'] });
    expect((await load('badkey', [1])).failure_message).toMatch(/other are not among them/);
  });

  it('refuses a record without a value in the merge key', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'nullkey', dataset: 'nullkey', mode: 'merge', key: ['value'] });
    const runId = await bench.queueRun('nasa', 'nullkey');
    const engine = fakeEngine({ values: [1], partitions: 1, batchRecords: 5 });
    const deps = await bench.deps({
      ...engine,
      async *openBatches(request) {
        for await (const batch of engine.openBatches(request)) {
          await writeFile(batch.goodFile, '1,1,\n');
          yield batch;
        }
      },
    });
    await bench.drain(deps);
    expect(await one(sql`select * from flux.runs where run_id = ${runId}`)).toMatchObject({
      failure_code: 'DESTINATION_CONFLICT',
    });
    expect(await values('nullkey')).toEqual([]);
  });

  it('refuses an output whose columns are not the dataset’s, and says which', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'cols', dataset: 'cols' });
    await load('cols', [1]);
    const run = await load(
      'cols',
      [2],
      [
        { name: 'id', type: 'text' },
        { name: 'value', type: 'bigint' },
      ],
    );
    expect(run).toMatchObject({ status: 'FAILED', failure_code: 'DESTINATION_CONFLICT' });
    expect(run.failure_message).toMatch(/Only the dataset: id bigint\. Only the output: id text\./);
  });

  it('takes the same columns in another order', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'order', dataset: 'order_of' });
    await load('order', [10]);
    await load(
      'order',
      [20],
      [
        { name: 'value', type: 'bigint' },
        { name: 'id', type: 'bigint' },
      ],
    );
    const { rows } = await database
      .admin()
      .query<{ id: bigint; value: bigint }>(sql`select id, value from lake_nasa.order_of order by value`);
    expect(rows).toEqual([
      { id: 1n, value: 10n },
      { id: 1n, value: 20n },
    ]);
  });

  it.each([
    [[{ name: '_flux_load', type: 'bigint' as const }]],
    [
      [
        { name: 'a', type: 'bigint' as const },
        { name: 'a', type: 'bigint' as const },
      ],
    ],
    [[{ name: 'x'.repeat(64), type: 'bigint' as const }]],
  ])('refuses columns that no table can have: %j', async (columns) => {
    const name = `names-${String(columns.length)}-${String(columns[0]?.name.length)}`;
    await bench.addPipeline({ agency: 'nasa', name, dataset: 'names' });
    const run = await load(name, [1], columns);
    expect(run).toMatchObject({ status: 'FAILED', failure_code: 'DESTINATION_CONFLICT' });
  });

  it('refuses a dataset whose name could be a load’s', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'likealoads', dataset: 'app__l1' });
    expect(await load('likealoads', [1])).toMatchObject({ failure_code: 'DESTINATION_CONFLICT' });
  });

  it('fails a run with more rejected records than the pipeline allows, and shows nothing of it', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'dirty', dataset: 'dirty', contract: { maxRejectedRatio: 0.25 } });
    const run = await load('dirty', [1, 'bad', 'bad', 4]);
    expect(run).toMatchObject({ status: 'FAILED', failure_code: 'CONTRACT_VIOLATED' });
    expect(run.failure_message).toMatch(/2 of 4 records \(50 %\).*allows 25 %/);
    expect(await values('dirty')).toEqual([]);
    expect(await load('dirty', [1, 'bad', 3, 4])).toMatchObject({ status: 'COMPLETED' });
  });

  it('fails at the first rejected record when the contract says so, and keeps that record', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'strict', dataset: 'strict', contract: { onViolation: 'fail' } });
    const run = await load('strict', [1, 'bad', 3]);
    expect(run).toMatchObject({ status: 'FAILED', failure_code: 'CONTRACT_VIOLATED' });
    expect(await values('strict')).toEqual([]);
    expect(
      await one(
        sql`select count(*)::int as n from flux.rejected_records r join flux.runs using (agency_id, run_id) where pipeline_name = 'strict'`,
      ),
    ).toEqual({ n: 1 });
  });

  it('fails a run as soon as more records are rejected than the pipeline allows by number', async () => {
    const contract = { maxRejectedCount: 1 };
    await bench.addPipeline({ agency: 'nasa', name: 'counted', dataset: 'counted', contract });
    expect(await load('counted', [1, 'bad', 3])).toMatchObject({ status: 'COMPLETED' });
    const run = await load('counted', ['bad', 'bad', 3]);
    expect(run).toMatchObject({ status: 'FAILED', failure_code: 'CONTRACT_VIOLATED' });
    expect(run.failure_message).toMatch(/2 records broke contract .*allows 1/);
    expect(await values('counted')).toEqual([1, 3]);
  });

  it('fails a run whose counts do not add up, with the difference', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'short', dataset: 'short' });
    const runId = await bench.queueRun('nasa', 'short');
    await bench.drain(
      await bench.deps(fakeEngine({ values: [1, 2, 3], partitions: 1, batchRecords: 2, recordsTotal: 4 })),
    );
    const run = await one<{ failure_message: string }>(sql`select * from flux.runs where run_id = ${runId}`);
    expect(run).toMatchObject({ status: 'FAILED', failure_code: 'NOT_RECONCILED' });
    expect(run.failure_message).toMatch(/the source holds 4, read took in 3 \(difference -1\)/);
    expect(await values('short')).toEqual([]);
  });

  it('fails a run whose batch wrote another number of rows than it announced', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'lying', dataset: 'lying' });
    const runId = await bench.queueRun('nasa', 'lying');
    const engine = fakeEngine({
      values: [1, 2, 3],
      partitions: 1,
      batchRecords: 5,
      changeBatch: (batch) => ({ ...batch, goodCount: 2 }),
    });
    await bench.drain(await bench.deps(engine));
    expect(await one(sql`select * from flux.runs where run_id = ${runId}`)).toMatchObject({
      failure_code: 'NOT_RECONCILED',
      last_seq: expect.anything(),
    });
  });

  it('loads by name what a batch holds in another order, and fails a run whose batch lacks a column', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'turned', dataset: 'turned' });
    const turned = (columns: string[]): EtlEngine =>
      fakeEngine({
        values: [7],
        partitions: 1,
        batchRecords: 5,
        changeBatch(batch) {
          writeFileSync(batch.goodFile, ['1', ...columns.map((name) => (name === 'id' ? '1' : '7'))].join());
          return { ...batch, columns };
        },
      });
    await bench.queueRun('nasa', 'turned');
    await bench.drain(await bench.deps(turned(['value', 'id'])));
    expect(await one(sql`select id, value from lake_nasa.turned`)).toEqual({ id: 1n, value: 7n });
    const runId = await bench.queueRun('nasa', 'turned');
    await bench.drain(await bench.deps(turned(['value'])));
    const run = await one<{ failure_message: string }>(sql`select * from flux.runs where run_id = ${runId}`);
    expect(run).toMatchObject({ failure_code: 'NOT_RECONCILED' });
    expect(run.failure_message).toMatch(/opened with the columns id, value, and the batch holds value/);
  });

  it('fails a run of which a row was taken from the load behind its back', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'robbed', dataset: 'robbed' });
    const runId = await bench.queueRun('nasa', 'robbed');
    const deps = await bench.deps(fakeEngine({ values: [1, 2, 3], partitions: 1, batchRecords: 5 }));
    for (let i = 0; i < 2; i += 1) await executePartition(deps, await bench.claim(), new AbortController().signal);
    await database.admin().query(sql`delete from lake_nasa.robbed__l1 where value = 2`);
    expect(await bench.drain(deps)).toEqual(['failed']);
    const run = await one<{ failure_message: string }>(sql`select * from flux.runs where run_id = ${runId}`);
    expect(run.failure_message).toMatch(/write gave out 3, the destination holds 2 \(difference -1\)/);
  });
});
