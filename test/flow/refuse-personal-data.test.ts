import { describe, expect, it } from 'vitest';

import { dryRunPlanOf } from '../../resolvers/run.ts';
import { sql } from '../../src/db/sql.ts';
import { forkRun } from '../../src/domain/fork-run.ts';
import { reprocessRejected } from '../../src/domain/reprocess-rejected.ts';
import { breaksAt } from '../support/broken-engine.ts';
import { useDatabase } from '../support/database.ts';
import { useField } from '../support/field.ts';
import { readRun } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const field = useField(database, bench, 'irs');

const names = ['Maria Garcia', 'William Johnson', 'Linda Brown', 'Kim Lee'];
/** One address of mail in 40 notes, and a number of social security and a name in each record. */
const lines = Array.from({ length: 120 }, (_each, i) => {
  const note = i % 40 === 3 ? `ask p${String(i)}@example.gov` : 'nothing';
  return `${String(i + 1)},078-05-${String(1_000 + i)},${String(names[i % 4])},${note}`;
});
const text = { type: 'string' };
const clean = [{ type: 'sterilise', drop: ['ssn', 'holder'], redact: ['note'] }];

async function pipeline(name: string, personalData: object | null, transforms: readonly object[] = []): Promise<void> {
  await field.put(`${name}.csv`, `id,ssn,holder,note\n${lines.join('\n')}\n`);
  await field.contract(name, { id: { type: 'integer' }, ssn: text, holder: text, note: text });
  await field.pipeline(name, {
    source: { connection: 'files', path: `${name}.csv`, format: { type: 'csv', header: true } },
    contract: { name, version: 1 },
    transforms,
    ...(personalData ? { personalData } : {}),
  });
}

const run = async (name: string, more: Parameters<typeof field.start>[1] = {}) => {
  const started = await field.start(name, more);
  await field.drain();
  return { run: started, ...(await readRun(database, started.id)) };
};

const refusal = {
  code: 'PERSONAL_DATA_FOUND',
  message:
    'A sample of what would be loaded seems to hold personal data, which the pipeline refuses: holder (NAME, 4 of 4 values, 100 %), ' +
    'note (EMAIL, 3 of 120 values, 2.5 %), ssn (SSN, 120 of 120 values, 100 %). Nothing was loaded. Sterilise these columns, or name them in ' +
    'personalData.allowedColumns.',
};

describe('a pipeline that refuses personal data', () => {
  it('loads nothing, and says which columns, what and how much, and no value', async () => {
    await pipeline('refused', { onFound: 'refuse' });
    for (const dryRun of [true, false]) {
      const { status, events, run: refused } = await run('refused', { dryRun });
      expect(status).toBe('FAILED');
      expect(events.at(-1)?.data).toMatchObject(refusal);
      expect(JSON.stringify(events)).not.toMatch(/078-05|Garcia|p\d+@/);
      expect(await dryRunPlanOf(field.ctx(), refused)).toBeNull();
    }
    await expect(field.rows('refused', 'id')).rejects.toThrow();
  });

  it('loads what is sterilised, one stage after the other as well, and refuses where a stage would load what is not', async () => {
    await pipeline('cleaned', { onFound: 'refuse' }, clean);
    expect(await run('cleaned')).toMatchObject({ status: 'COMPLETED' });
    for (const stage of ['INGEST', 'TRANSFORM', 'EXPORT'] as const)
      expect(await run('cleaned', { stage })).toMatchObject({ status: 'COMPLETED' });
    expect(await field.rows('cleaned', 'id')).toHaveLength(120);

    await pipeline('in-stages', { onFound: 'refuse' });
    expect(await run('in-stages', { stage: 'INGEST' })).toMatchObject({ status: 'COMPLETED' });
    const { status, events } = await run('in-stages', { stage: 'TRANSFORM' });
    expect(status).toBe('FAILED');
    expect(events.at(-1)?.data).toMatchObject({ code: 'PERSONAL_DATA_FOUND' });
  });

  it('looks at hashes where identifiers are hashed', async () => {
    const hashed = [{ type: 'sterilise', hash: ['ssn'], drop: ['holder'], redact: ['note'] }];
    await pipeline('hashed', { onFound: 'refuse' }, hashed);
    expect(await run('hashed')).toMatchObject({ status: 'COMPLETED' });
    const rows = await field.rows('hashed', 'ssn');
    expect(rows).toHaveLength(120);
    expect(JSON.stringify(rows)).not.toContain('078-05');
  });

  it('looks behind steps that need all records', async () => {
    await pipeline('whole', { onFound: 'refuse' }, [{ type: 'deduplicate', key: ['ssn'] }]);
    expect((await run('whole')).events.at(-1)?.data).toMatchObject(refusal);
    await pipeline('counted', { onFound: 'refuse' }, [
      { type: 'aggregate', groupBy: ['note'], measures: { people: 'count(*)' } },
      { type: 'filter', rule: 'no notes', sql: "note = 'nothing'" },
    ]);
    expect(await run('counted')).toMatchObject({ status: 'COMPLETED' });
  });

  it('lets pass what it allows: columns, and shares below its own', async () => {
    await pipeline('allowed', { onFound: 'refuse', minimumShare: 0.03, allowedColumns: ['ssn', 'holder'] });
    expect(await run('allowed')).toMatchObject({ status: 'COMPLETED' });
    await pipeline('shared', { onFound: 'refuse', minimumShare: 0.025, allowedColumns: ['ssn', 'holder'] });
    const { events } = await run('shared');
    expect(events.at(-1)?.data).toMatchObject({
      code: 'PERSONAL_DATA_FOUND',
      issues: [{ path: '/note', rule: 'personalData', message: 'reads as EMAIL in 3 of 120 values, 2.5 %' }],
    });
  });

  it('is only told where it warns', async () => {
    await pipeline('warned', { onFound: 'warn' });
    const { run: dry, status } = await run('warned', { dryRun: true });
    expect(status).toBe('COMPLETED');
    expect((await dryRunPlanOf(field.ctx(), dry))?.sample.personalData).toEqual([
      { column: 'holder', kind: 'NAME', matches: 4, checked: 4 },
      { column: 'note', kind: 'EMAIL', matches: 3, checked: 120 },
      { column: 'ssn', kind: 'SSN', matches: 120, checked: 120 },
    ]);
    expect(await run('warned')).toMatchObject({ status: 'COMPLETED' });
  });

  it('looks at what a fork goes on with, and at the rejected records that are put through again', async () => {
    const source = { connection: 'files', path: 'later.csv', format: { type: 'csv', header: true } };
    const define = (version: number, personalData: object) =>
      field.pipeline('later', {
        source,
        contract: { name: 'later', version, maxRejectedRatio: 1 },
        batch: { records: 40 },
        personalData,
      });
    await field.put('later.csv', `id,ssn,holder,note\n${lines.join('\n')}\n`);
    const properties = { ssn: text, holder: text, note: text };
    // The records that are rejected lie in places far from each other.
    const even = await field.contract('later', { id: { type: 'integer', multipleOf: 2 }, ...properties });
    await define(even, { onFound: 'warn' });
    const failed = await field.start('later');
    await field.drain(breaksAt(field.engine, 2));
    expect((await readRun(database, failed.id)).status).toBe('FAILED');
    expect((await run('later')).status).toBe('COMPLETED');
    const { id: loaded } = await field.start('later');
    await field.drain();

    const any = await field.contract('later', { id: { type: 'integer' }, ...properties });
    const ctx = field.ctx();
    const asked = { reason: 'again', idempotencyKey: null };
    const { rows } = await database.admin().query<{ id: string }>(sql`
      select checkpoint_id as id from flux.checkpoints where run_id = ${failed.id} order by version desc limit 1
    `);
    const fork = () => forkRun(ctx.api, ctx, { checkpointId: String(rows[0]?.id), pipeline: 'CURRENT', ...asked });
    const endOf = async ({ id }: { id: string }) => {
      await field.drain();
      const { status, events } = await readRun(database, id);
      return { status, ...(events.at(-1)?.data as Record<string, unknown>) };
    };
    await define(even, { onFound: 'refuse' });
    expect(await endOf(await fork())).toMatchObject({ status: 'FAILED', code: refusal.code });
    await define(any, { onFound: 'refuse' });
    const refused: Record<string, unknown> = await endOf(
      await reprocessRejected(ctx.api, ctx, { runId: loaded, ...asked }),
    );
    expect(refused).toMatchObject({ status: 'FAILED', code: 'PERSONAL_DATA_FOUND' });
    expect(String(refused['message'])).toContain('ssn (SSN, 60 of 60 values, 100 %)');

    const allowedColumns = ['ssn', 'holder', 'note'];
    await define(any, { onFound: 'refuse', allowedColumns });
    expect(await endOf(await reprocessRejected(ctx.api, ctx, { runId: loaded, ...asked }))).toMatchObject({
      status: 'COMPLETED',
      written: 60,
    });
    await define(even, { onFound: 'refuse', allowedColumns });
    expect(await endOf(await fork())).toMatchObject({ status: 'COMPLETED', written: 60 });
  });
});
