import { beforeAll, describe, expect, it } from 'vitest';

import { sql } from '../../src/db/sql.ts';
import { cancelRun } from '../../src/domain/cancel-run.ts';
import { forkRun } from '../../src/domain/fork-run.ts';
import { replayRun } from '../../src/domain/replay-run.ts';
import { resumeRun } from '../../src/domain/resume-run.ts';
import { FluxError } from '../../src/errors.ts';
import { executePartition } from '../../src/worker/execute-partition.ts';
import { auditOf, contextOf } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { fakeEngine, type FakeSource } from '../support/fake-engine.ts';
import { readRun } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const agency = 'nasa';

beforeAll(() => database.addAgency(agency));

const source: FakeSource = { values: [0, 'bad', 2, 3, 'drop', 5, 6, 7], partitions: 2, batchRecords: 2 };
const ctx = () => contextOf(database, agency);
const asked = { reason: 'because', idempotencyKey: null };
const replay = (runId: string) => replayRun(ctx().api, ctx(), { runId, ...asked });
const drain = async (more: Partial<FakeSource> = {}) =>
  bench.drain(await bench.deps(fakeEngine({ ...source, ...more })));
const breaks: Partial<FakeSource> = {
  beforeBatch: ({ partition, batch }) => {
    if (partition === 2 && batch === 2) throw new FluxError('TRANSFORM_FAILED', 'broken on purpose');
  },
};
async function queue(name: string): Promise<string> {
  await bench.addPipeline({ agency, name, dataset: name, contract: { maxRejectedRatio: 1 } });
  return bench.queueRun(agency, name);
}
async function expectReplayed(runId: string, status: string): Promise<void> {
  const found = await replay(runId);
  expect(found.differences).toEqual([]);
  expect(found).toMatchObject({ matches: true, derivedHash: found.storedHash });
  expect((await readRun(database, runId)).status).toBe(status);
}

describe('replaying a run', () => {
  it('gives the state that the tables have, at every stage of its life', async () => {
    const runId = await queue('lives');
    await expectReplayed(runId, 'PENDING');
    await executePartition(await bench.deps(fakeEngine(source)), await bench.claim(), new AbortController().signal);
    await expectReplayed(runId, 'IN_PROGRESS');
    await bench.claim('slow', 60_000);
    await cancelRun(ctx().api, ctx(), { runId, graceSeconds: 60, ...asked });
    await expectReplayed(runId, 'CANCELLING');
    await database.admin().query(sql`
      update flux.run_partitions set lease_expires_at = clock_timestamp() where run_id = ${runId} and leased_by = 'slow'
    `);
    await drain();
    await expectReplayed(runId, 'CANCELLED');
    await resumeRun(ctx().api, ctx(), { runId, ...asked });
    await expectReplayed(runId, 'PENDING');
    await drain(breaks);
    await expectReplayed(runId, 'FAILED');
    await resumeRun(ctx().api, ctx(), { runId, ...asked });
    await drain();
    await expectReplayed(runId, 'COMPLETED');
    expect((await auditOf(database, agency)).filter(({ action }) => action === 'run.replay')).toHaveLength(7);
  });

  it('gives the state of a fork, and of a run whose checkpoints have expired', async () => {
    const runId = await queue('forks');
    await drain(breaks);
    const { rows } = await database.admin().query<{ id: string }>(sql`
      select checkpoint_id as id from flux.checkpoints where run_id = ${runId} and partition_no = 2
    `);
    const fork = await forkRun(ctx().api, ctx(), { checkpointId: String(rows[0]?.id), ...asked });
    await drain();
    await expectReplayed(fork.id, 'COMPLETED');
    await database.admin().query(sql`delete from flux.checkpoints where run_id = ${fork.id}`);
    await expectReplayed(fork.id, 'COMPLETED');
  });

  it('gives the state of a run that passed over a damaged checkpoint', async () => {
    const runId = await queue('damaged');
    await drain({ partitions: 1, beforeBatch: breaksLate });
    await database.admin().query(sql`
      update flux.checkpoints set body = body || '\x20' where run_id = ${runId} and partition_no = 1 and version = 2
    `);
    await resumeRun(ctx().api, ctx(), { runId, ...asked });
    await drain({ partitions: 1 });
    expect((await readRun(database, runId)).events.some(({ name }) => name === 'CheckpointRejected')).toBe(true);
    await expectReplayed(runId, 'COMPLETED');
  });

  it('says where tables and history differ', async () => {
    const runId = await queue('differs');
    await drain();
    await database.admin().query(sql`
      update flux.run_partitions set records_written = records_written + 1 where run_id = ${runId} and partition_no = 1
    `);
    const changed = await replay(runId);
    expect(changed.matches).toBe(false);
    expect(changed.differences).toEqual(['partition 1, written: the events give 3, the tables have 4']);

    await database.admin().query(sql`delete from flux.run_events where run_id = ${runId} and seq = 3`);
    expect(await replay(runId)).toMatchObject({
      matches: false,
      derivedHash: null,
      differences: ['The events give no state: expected event 3, found 4.'],
    });
    await expect(replay('01980000-0000-7000-8000-000000000000')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

function breaksLate({ batch }: { batch: number }): void {
  if (batch === 3) throw new FluxError('TRANSFORM_FAILED', 'broken on purpose');
}
