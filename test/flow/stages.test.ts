import { describe, expect, it } from 'vitest';

import { reconciliationOf } from '../../resolvers/run.ts';
import { sql } from '../../src/db/sql.ts';
import { cancelRun } from '../../src/domain/cancel-run.ts';
import { replayRun } from '../../src/domain/replay-run.ts';
import { rerunRun } from '../../src/domain/rerun-run.ts';
import { resumeRun } from '../../src/domain/resume-run.ts';
import { forkRun } from '../../src/domain/fork-run.ts';
import { breaksAt } from '../support/broken-engine.ts';
import { useDatabase } from '../support/database.ts';
import { useField } from '../support/field.ts';
import { readRun } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const field = useField(database, bench, 'noaa');

const header = 'id,day,level,note\n';
const line = (id: number): string =>
  `${id},2024-01-${String((id % 28) + 1).padStart(2, '0')},${id % 7}.5,"note ${id}"\n`;
const lines = (count: number): string => header + Array.from({ length: count }, (_each, i) => line(i + 1)).join('');
const properties = {
  id: { type: 'integer' },
  day: { type: 'string', format: 'date' },
  level: { type: 'number' },
  note: { type: 'string' },
};
/** Of 1200 records 2 are broken, and the filter leaves out those of level 6.5. */
const dirty = lines(1_200).replace('\n7,', '\nseven,').replace('\n900,', '\n,');

async function pipeline(name: string, more: Record<string, unknown> = {}): Promise<void> {
  await field.put(`${name}.csv`, dirty);
  await field.contract(name, properties, { required: ['id'] });
  await field.pipeline(name, {
    source: { connection: 'files', path: `${name}.csv`, format: { type: 'csv', header: true } },
    contract: { name, version: 1, maxRejectedRatio: 0.5 },
    transforms: [
      { type: 'rename', columns: { note: 'remark' } },
      { type: 'derive', column: 'twice', sql: 'level * 2' },
      { type: 'filter', sql: 'level < 6', rule: 'low' },
    ],
    batch: { records: 100 },
    ...more,
  });
}
async function completed(runId: string): Promise<void> {
  const { status, events } = await readRun(database, runId);
  expect(events.at(-1)?.data).not.toHaveProperty('code');
  expect(status).toBe('COMPLETED');
}
const steps = async (run: Awaited<ReturnType<typeof field.start>>) => {
  const found = await reconciliationOf(field.ctx(), run);
  expect(found?.differences).toEqual([]);
  return found?.steps.map(({ stage, step, recordsIn, recordsOut }) => [
    `${stage} ${step}`,
    Number(recordsIn),
    Number(recordsOut),
  ]);
};
const good = 1_198;
const high = Array.from({ length: 1_200 }, (_each, i) => i + 1).filter(
  (id) => id % 7 === 6 && id !== 7 && id !== 900,
).length;

describe('the stages of a pipeline, each alone', () => {
  it('end with the same dataset as all of them in one run, and each adds up', async () => {
    await pipeline('apart');
    const ingest = await field.start('apart', { stage: 'INGEST' });
    await field.drain();
    await completed(ingest.id);
    expect(await steps(ingest)).toEqual([
      ['INGEST read', 1_200, 1_200],
      ['INGEST validate', 1_200, good],
      ['INGEST write_parts', good, good],
    ]);
    const transform = await field.start('apart', { stage: 'TRANSFORM' });
    expect(transform.inputRun).toBe(ingest.id);
    await field.drain();
    await completed(transform.id);
    expect(await steps(transform)).toEqual([
      ['TRANSFORM read_parts', good, good],
      ['TRANSFORM rename', good, good],
      ['TRANSFORM derive twice', good, good],
      ['TRANSFORM filter low', good, good - high],
      ['TRANSFORM write_parts', good - high, good - high],
    ]);
    const exported = await field.start('apart', { stage: 'EXPORT' });
    expect(exported.inputRun).toBe(transform.id);
    await field.drain();
    await completed(exported.id);
    expect(await steps(exported)).toEqual([
      ['EXPORT read_parts', good - high, good - high],
      ['EXPORT write', good - high, good - high],
    ]);
    const columns = '_flux_record id day level remark twice';
    const apart = await field.rows('apart', columns);
    expect(apart).toHaveLength(good - high);

    const { rows } = await database.admin().query(sql`
      select record_no::int as n from flux.rejected_records where run_id = ${ingest.id} order by 1
    `);
    expect(rows).toEqual([{ n: 7 }, { n: 900 }]);
    const whole = await field.start('apart');
    await field.drain();
    await completed(whole.id);
    expect(await field.rows('apart', columns)).toEqual(apart);

    for (const { id } of [ingest, transform, exported]) {
      const replay = await replayRun(field.ctx().api, field.ctx(), { runId: id, reason: null, idempotencyKey: null });
      expect(replay.differences).toEqual([]);
    }
  });

  it('tell of their own stage only, and spread over partitions', async () => {
    const { rows } = await database.admin().query<{ stage: string; names: string[]; partitions: number }>(sql`
      select r.stage,
        array(select e.name || ' ' || e.stage from flux.run_events e
          where e.run_id = r.run_id and e.name in ('StageStarted', 'StageCompleted') order by seq) as names,
        (select count(*)::int from flux.run_partitions p where p.run_id = r.run_id and p.kind = 'BATCHES') as partitions
      from flux.runs r where r.pipeline_name = 'apart' and r.stage <> 'FULL' order by r.run_id
    `);
    expect(rows.map(({ stage, names }) => [stage, names])).toEqual(
      ['INGEST', 'TRANSFORM', 'EXPORT'].map((stage) => [stage, [`StageStarted ${stage}`, `StageCompleted ${stage}`]]),
    );
    expect(rows.every(({ partitions }) => partitions > 1)).toBe(true);
  });

  it('say what they miss when no earlier stage has completed', async () => {
    await pipeline('missing', { batch: { records: 2_000 } });
    await expect(field.start('missing', { stage: 'TRANSFORM' })).rejects.toMatchObject({
      code: 'STAGE_INPUT_MISSING',
      message: /completed INGEST run .* stage ingest/,
    });
    const cancelled = await field.start('missing', { stage: 'INGEST' });
    await cancelRun(field.ctx().api, field.ctx(), {
      runId: cancelled.id,
      reason: 'no',
      idempotencyKey: null,
      graceSeconds: null,
    });
    await expect(field.start('missing', { stage: 'TRANSFORM' })).rejects.toMatchObject({ code: 'STAGE_INPUT_MISSING' });
    await field.start('missing', { stage: 'INGEST' });
    await field.drain();
    await expect(field.start('missing', { stage: 'EXPORT' })).rejects.toMatchObject({
      code: 'STAGE_INPUT_MISSING',
      message: /completed TRANSFORM run/,
    });
    const payload = {
      agency: 'noaa',
      content_type: 'text',
      use_case: 'research',
      stage: 'transform',
      source: 'other.csv',
      metadata: { pipeline: 'missing' },
    };
    await expect(field.start('', { pipeline: null, payload })).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      message: /reads the parts/,
    });
  });

  it('takes the newest completed one, with the pipeline as it is now', async () => {
    await pipeline('newest', { batch: { records: 2_000 } });
    await field.start('newest', { stage: 'INGEST' });
    await field.drain();
    await field.put('newest.csv', lines(10));
    const second = await field.start('newest', { stage: 'INGEST' });
    await field.drain();
    await field.pipeline('newest', {
      source: { connection: 'files', path: 'newest.csv', format: { type: 'csv', header: true } },
      contract: { name: 'newest', version: 1 },
      transforms: [{ type: 'derive', column: 'year', sql: 'year(day)' }],
    });
    const transform = await field.start('newest', { stage: 'TRANSFORM' });
    expect(transform).toMatchObject({ inputRun: second.id, pipelineVersion: 2 });
    await field.drain();
    await field.start('newest', { stage: 'EXPORT' });
    await field.drain();
    expect((await field.rows('newest', 'id year')).map(({ year }) => Number(year))).toEqual(Array(10).fill(2024));
  });

  it('lets a pipeline without transforms be exported from what was ingested, every type as it was', async () => {
    await field.put(
      'typed.ndjson',
      [
        {
          id: 1,
          tags: ['a', 'b'],
          at: '2024-05-06T07:08:09.123456Z',
          place: { lat: 1.25, name: 'x "y"' },
          big: 9007199254740993n,
          ok: true,
        },
        { id: 2, tags: null, at: null, place: null, big: null, ok: false, text: '' },
        { id: 3, text: 'line\nbreak, "quote" and NULL' },
      ]
        .map((record) =>
          JSON.stringify(record, (_key, value: unknown) =>
            typeof value === 'bigint' ? `#${value}#` : value,
          ).replaceAll(/"#(\d+)#"/g, '$1'),
        )
        .join('\n'),
    );
    const nullable = (type: string, more = {}) => ({ type: [type, 'null'], ...more });
    await field.contract('typed', {
      id: { type: 'integer' },
      tags: nullable('array'),
      at: nullable('string', { format: 'date-time' }),
      place: {
        type: ['object', 'null'],
        properties: { lat: { type: 'number' }, name: { type: 'string' } },
        additionalProperties: false,
      },
      big: nullable('integer'),
      ok: nullable('boolean'),
      text: { type: 'string' },
    });
    const definition = {
      source: { connection: 'files', path: 'typed.ndjson', format: { type: 'ndjson' } },
      contract: { name: 'typed', version: 1 },
    };
    await field.pipeline('typed', definition);
    const ingest = await field.start('typed', { stage: 'INGEST' });
    await field.drain();
    await completed(ingest.id);
    const exported = await field.start('typed', { stage: 'EXPORT' });
    expect(exported.inputRun).toBe(ingest.id);
    await field.drain();
    await completed(exported.id);
    const { columns } = (
      await database.admin().query<{ columns: { name: string }[] }>(sql`
        select columns from flux.datasets where name = 'typed'
      `)
    ).rows[0] as { columns: { name: string }[] };
    const names = columns.map(({ name }) => name).join(' ');
    const apart = await field.rows('typed', names);
    await field.start('typed');
    await field.drain();
    expect(await field.rows('typed', names)).toEqual(apart);
    expect(apart).toHaveLength(3);
  });
});

describe('a single stage that breaks off', () => {
  it.each(['INGEST', 'TRANSFORM', 'EXPORT'] as const)('%s: goes on, also from an older checkpoint', async (stage) => {
    const name = `broken-${stage.toLowerCase()}`;
    await pipeline(name, { batch: { records: 300 } });
    for (const earlier of ['INGEST', 'TRANSFORM', 'EXPORT'] as const) {
      if (earlier === stage) break;
      await field.start(name, { stage: earlier });
      await field.drain();
    }
    const run = await field.start(name, { stage });
    await field.drain(breaksAt(field.engine, 3));
    expect((await readRun(database, run.id)).status).toBe('FAILED');
    await database.admin().query(sql`
      update flux.checkpoints set body = body || '\x20' where run_id = ${run.id} and version = 2
    `);
    const again = { runId: run.id, reason: 'repaired', idempotencyKey: null };
    await resumeRun(field.ctx().api, field.ctx(), again);
    await field.drain();
    await completed(run.id);
    expect((await readRun(database, run.id)).events.some(({ name: event }) => event === 'CheckpointRejected')).toBe(
      true,
    );
    expect(await steps(run)).toHaveLength({ INGEST: 3, TRANSFORM: 5, EXPORT: 2 }[stage]);
    for (const later of ['TRANSFORM', 'EXPORT'] as const) {
      if (stage === 'EXPORT' || later === stage) continue;
      await field.start(name, { stage: later });
      await field.drain();
    }
    expect(await field.rows(name.replace('-', '_'), 'id')).toHaveLength(good - high);
  });

  it('is rerun on the same parts, and is not forked', async () => {
    await pipeline('again', { batch: { records: 2_000 } });
    const ingest = await field.start('again', { stage: 'INGEST' });
    await field.drain();
    const first = await field.start('again', { stage: 'TRANSFORM' });
    await field.drain();
    await field.start('again', { stage: 'INGEST' });
    await field.drain();
    const asked = { reason: 'once more', idempotencyKey: null };
    const second = await rerunRun(field.ctx().api, field.ctx(), { runId: first.id, pipeline: null, ...asked });
    expect(second.inputRun).toBe(ingest.id);
    await field.drain();
    await completed(second.id);
    const { rows } = await database.admin().query<{ id: string }>(sql`
      select checkpoint_id as id from flux.checkpoints where run_id = ${first.id} limit 1
    `);
    await expect(
      forkRun(field.ctx().api, field.ctx(), { checkpointId: String(rows[0]?.id), ...asked }),
    ).rejects.toMatchObject({ code: 'INVALID_INPUT', message: /Rerun it/ });
  });
});
