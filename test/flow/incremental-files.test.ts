import { describe, expect, it } from 'vitest';

import { dryRunPlanOf } from '../../resolvers/run.ts';
import { reprocessRejected } from '../../src/domain/reprocess-rejected.ts';
import { rerunRun } from '../../src/domain/rerun-run.ts';
import { resumeRun } from '../../src/domain/resume-run.ts';
import { FluxError } from '../../src/errors.ts';
import { useDatabase } from '../support/database.ts';
import { useField } from '../support/field.ts';
import { readRun } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const field = useField(database, bench, 'epa');

const lenient = { maxRejectedRatio: 1 };

async function define(name: string, level: object = { type: 'integer', maximum: 50 }): Promise<void> {
  const properties = { id: { type: 'integer' }, seq: { type: 'integer' }, level };
  const version = await field.contract(name, properties, { required: ['id', 'seq'] });
  await field.pipeline(name, {
    source: { connection: 'files', path: `${name}.csv`, format: { type: 'csv' }, incremental: { cursor: 'seq' } },
    contract: { name, version, ...lenient },
    destination: { type: 'postgres', dataset: name, mode: 'merge', key: ['id'] },
    batch: { records: 2 },
  });
}
const put = (name: string, ...lines: string[]) => field.put(`${name}.csv`, `id,seq,level\n${lines.join('\n')}\n`);

type Engine = Parameters<typeof field.drain>[0];

async function run(name: string, more: object = {}, engine?: Engine) {
  const { id } = await field.start(name, more);
  await field.drain(engine);
  return { id, ...(await ended(id)) };
}
async function ended(id: string) {
  const { status, events } = await readRun(database, id);
  return { status, data: events.at(-1)?.data, plan: events.find(({ name }) => name === 'PlanMade')?.data };
}
const levels = async (name: string) =>
  (await field.rows(name, 'id level'))
    .map(({ id, level }) => [Number(id), Number(level)])
    .sort(([a = 0], [b = 0]) => a - b);
/** Commits one batch, and fails then. */
const failing = (): Engine => ({
  ...field.engine,
  async *openBatches(request) {
    for await (const batch of field.engine.openBatches(request)) {
      yield batch;
      throw new FluxError('TRANSFORM_FAILED', 'broken on purpose');
    }
  },
});
const counts = (read: number, written: number, rejected: number, passedOver: number) => ({
  status: 'COMPLETED',
  data: { read, written, rejected, filtered: passedOver, passedOver, reconciled: true },
});
const mark = (after: string | null, value: string | null) => ({ plan: { increment: { cursor: 'seq', after, value } } });

describe('a file of which only what is new is loaded', () => {
  it('passes over what a completed run has read, counts it, and begins again in a full run', async () => {
    await define('readings');
    // A record that breaks the contract moves no mark.
    await put('readings', '1,1,10', '2,2,20', '3,3,30', '4,99,99');
    expect(await run('readings')).toMatchObject({ ...counts(4, 3, 1, 0), ...mark(null, '3') });

    // One changed, one new, one that comes too late with the mark's own value, and one that was refused before and lies below the mark now.
    const grown = ['1,1,10', '2,2,20', '3,3,30', '9,3,9', '8,2,99', '2,4,21', '5,5,50'];
    await put('readings', ...grown);
    const dry = await field.start('readings', { dryRun: true });
    await field.drain();
    expect((await dryRunPlanOf(field.ctx(), dry))?.sample).toMatchObject({ recordsRejected: 0 });
    expect(await run('readings')).toMatchObject({ ...counts(7, 2, 0, 5), ...mark('3', '5') });
    expect(await levels('readings')).toEqual([
      [1, 10],
      [2, 21],
      [3, 30],
      [5, 50],
    ]);

    expect(await run('readings')).toMatchObject({ ...counts(7, 0, 0, 7), ...mark('5', '5') });

    const full = await run('readings', { full: true });
    expect(full).toMatchObject({ ...counts(7, 6, 1, 0), ...mark(null, '5') });
    expect(await levels('readings')).toEqual([
      [1, 10],
      [2, 21],
      [3, 30],
      [5, 50],
      [9, 9],
    ]);
    const payload = {
      agency: 'epa',
      content_type: 'text',
      use_case: 'research',
      full: true,
      metadata: { pipeline: 'readings' },
    };
    expect(await run('readings', { pipeline: null, payload })).toMatchObject(mark(null, '5'));
  });

  it('moves no mark by a run that failed; resumed it goes on, unless a later run has read all of it', async () => {
    await define('broken');
    await put('broken', '1,1,10');
    expect(await run('broken')).toMatchObject(counts(1, 1, 0, 0));
    await put('broken', '1,1,10', '2,2,20', '3,3,30', '4,4,40');
    const first = await run('broken', {}, failing());
    expect(first).toMatchObject({ status: 'FAILED', ...mark('1', '4') });
    await resumeRun(field.ctx().api, field.ctx(), { runId: first.id, reason: 'mended', idempotencyKey: null });
    await field.drain();
    expect(await ended(first.id)).toMatchObject(counts(4, 3, 0, 1));

    await put('broken', '1,5,11', '2,2,20', '3,3,30');
    const failed = await run('broken', {}, failing());
    expect(failed).toMatchObject({ status: 'FAILED', ...mark('4', '5') });
    await put('broken', '1,6,12', '2,2,20', '3,3,30');
    expect(await run('broken')).toMatchObject({ ...counts(3, 1, 0, 2), ...mark('4', '6') });
    await resumeRun(field.ctx().api, field.ctx(), { runId: failed.id, reason: 'late', idempotencyKey: null });
    await field.drain();
    expect(await ended(failed.id)).toMatchObject({ status: 'FAILED', data: { code: 'RUN_CONFLICT' } });
    expect(await levels('broken')).toEqual([
      [1, 12],
      [2, 20],
      [3, 30],
      [4, 40],
    ]);
  });

  it('goes back to where a run ended that is done again, so that what it overwrites is read again', async () => {
    await define('again');
    await put('again', '1,1,10', '2,2,99');
    const first = await run('again');
    expect(first).toMatchObject({ ...counts(2, 1, 1, 0), ...mark(null, '1') });
    await put('again', '1,3,11', '2,4,22');
    expect(await run('again')).toMatchObject({ ...counts(2, 2, 0, 0), ...mark('1', '4') });

    await define('again', { type: 'integer' });
    await reprocessRejected(field.ctx().api, field.ctx(), { runId: first.id, reason: 'mended', idempotencyKey: null });
    await field.drain();
    expect(await levels('again')).toEqual([
      [1, 11],
      [2, 99],
    ]);
    expect(await run('again')).toMatchObject({ ...counts(2, 2, 0, 0), ...mark('1', '4') });
    expect(await levels('again')).toEqual([
      [1, 11],
      [2, 22],
    ]);

    const { id } = await rerunRun(field.ctx().api, field.ctx(), {
      runId: first.id,
      pipeline: null,
      reason: 'again',
      idempotencyKey: null,
    });
    await field.drain();
    expect(await ended(id)).toMatchObject(mark(null, '1'));
    expect(await run('again')).toMatchObject({ ...counts(2, 2, 0, 0), ...mark('1', '4') });
    expect(await levels('again')).toEqual([
      [1, 11],
      [2, 22],
    ]);
  });

  it('is refused at registration where no record would say whether it is new', async () => {
    const register = async (cursor: string, more: object = {}) => {
      const version = await field.contract(
        'unfit',
        { id: { type: 'integer' }, seq: { type: 'integer' }, at: { type: 'string' }, late: { type: 'integer' } },
        { required: ['id', 'seq', 'at'] },
      );
      return field.pipeline('unfit', {
        source: { connection: 'files', path: 'unfit.csv', format: { type: 'csv' }, incremental: { cursor } },
        contract: { name: 'unfit', version },
        destination: { type: 'postgres', dataset: 'unfit', mode: 'merge', key: ['id'] },
        ...more,
      });
    };
    const aggregate = { transforms: [{ type: 'aggregate', groupBy: ['id'], measures: { n: 'count(*)' } }] };
    const refusals: [string, object, RegExp][] = [
      ['nowhere', {}, /names nowhere, which the contract does not have/],
      ['at', {}, /names at, which must be an integer, a number, or a string of the format date/],
      ['late', {}, /names late, which the contract must require/],
      ['seq', aggregate, /would see only what is new/],
    ];
    for (const [cursor, more, message] of refusals) {
      await expect(register(cursor, more)).rejects.toMatchObject({
        code: 'INVALID_INPUT',
        message: expect.stringMatching(message) as string,
      });
    }
    await register('seq');
  });
});
