import { createHash } from 'node:crypto';

import fc from 'fast-check';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { run as findRunOf } from '../../resolvers/run.ts';
import { verificationOf } from '../../resolvers/checkpoint.ts';
import { resumePlanOf } from '../../resolvers/run-control.ts';
import { canonicalBytes } from '../../src/canonical-json.ts';
import type { Run } from '../../src/db/runs.ts';
import { sql } from '../../src/db/sql.ts';
import { resumeRun } from '../../src/domain/resume-run.ts';
import { FluxError } from '../../src/errors.ts';
import { auditOf, contextOf } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { fakeEngine, type FakeSource } from '../support/fake-engine.ts';
import { readRun } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);

const values = Array.from({ length: 16 }, (_, i) => i);
const source: FakeSource = { values, partitions: 2, batchRecords: 2 };
const breaks: Partial<FakeSource> = {
  beforeBatch: ({ partition, batch }) => {
    if (partition === 2 && batch === 4) throw new FluxError('TRANSFORM_FAILED', 'broken on purpose');
  },
};

interface Stored {
  version: number;
  epoch: number;
  body: Buffer;
  hash: Buffer;
  previous_hash: Buffer | null;
}
interface Failed {
  runId: string;
  agency: string;
  /** Of partition 2, three of them. */
  checkpoints: Stored[];
}
const failed = {} as Record<'own' | 'other' | 'foreign', Failed>;

beforeAll(async () => {
  for (const [name, agency] of [
    ['own', 'nasa'],
    ['other', 'nasa'],
    ['foreign', 'noaa'],
  ] as const) {
    if (name !== 'other') await database.addAgency(agency);
    await bench.addPipeline({ agency, name, dataset: name });
    const runId = await bench.queueRun(agency, name);
    await bench.drain(await bench.deps(fakeEngine({ ...source, ...breaks })));
    failed[name] = { runId, agency, checkpoints: await storedOf(runId) };
    expect(failed[name].checkpoints).toHaveLength(3);
  }
});

async function storedOf(runId: string): Promise<Stored[]> {
  const { rows } = await database.admin().query<Stored>(sql`
    select version, epoch, body, hash, previous_hash
    from flux.checkpoints where run_id = ${runId} and partition_no = 2 order by version
  `);
  return rows;
}
/** Puts the own run's checkpoints of partition 2 into a state, with the power of whoever owns the database. */
async function place(stored: readonly Stored[]): Promise<void> {
  const { runId, agency } = failed.own;
  await database.admin().query(sql`delete from flux.checkpoints where run_id = ${runId} and partition_no = 2`);
  await database.admin().query(sql`alter table flux.checkpoints disable trigger guard_checkpoint`);
  for (const { version, epoch, body, hash, previous_hash } of stored) {
    await database.admin().query(sql`
      insert into flux.checkpoints (agency_id, run_id, partition_no, version, epoch, status, step, body, hash, previous_hash)
      values (${agency}, ${runId}, 2, ${version}, ${epoch}, 'IN_PROGRESS', 'write', ${body}, ${hash}, ${previous_hash})
    `);
  }
  await database.admin().query(sql`alter table flux.checkpoints enable trigger guard_checkpoint`);
}
afterEach(() => place(failed.own.checkpoints));

const ctx = () => contextOf(database, 'nasa');
const own = async (): Promise<Run> => (await findRunOf(ctx(), failed.own.runId)) as Run;
const faults = async () => (await verificationOf(ctx(), await own())).faults;
const sha256 = (body: Buffer): Buffer => createHash('sha256').update(body).digest();
const at = (version: number, change: Partial<Stored>): Stored[] =>
  failed.own.checkpoints.map((each) => (each.version === version ? { ...each, ...change } : each));
/** Which checkpoint a resume would go on from: 0 when none of what is stored is believed. */
async function believed(): Promise<number> {
  const { partitions, forbiddenBy } = await resumePlanOf(ctx(), await own());
  const version = partitions[2]?.checkpointVersion ?? 0;
  if (version === 0) expect(forbiddenBy).toMatchObject({ code: 'CHECKPOINT_CORRUPTED' });
  return version;
}

describe('a checkpoint is not believed', () => {
  it('when it is as it was saved, of course it is', async () => {
    expect(await verificationOf(ctx(), await own())).toEqual({ checkpointCount: 7, faults: [] });
    expect(await believed()).toBe(3);
  });

  it('when any one byte of its body, hash or link differs', async () => {
    const newest = failed.own.checkpoints[2] as Stored;
    const flip = fc.record({
      field: fc.constantFrom('body' as const, 'hash' as const, 'previous_hash' as const),
      place: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      mask: fc.integer({ min: 1, max: 255 }),
    });
    await fc.assert(
      fc.asyncProperty(flip, async ({ field, place: where, mask }) => {
        const bytes = Buffer.from(newest[field] as Buffer);
        const index = Math.floor(where * bytes.length);
        bytes[index] = (bytes[index] as number) ^ mask;
        await place(at(3, { [field]: bytes }));
        expect(await believed()).toBe(2);
        expect(await faults()).toMatchObject([{ partitionNo: 2, version: 3 }]);
      }),
      { numRuns: 60 },
    );
  });

  it('at every single byte of the body, by its digest', async () => {
    const { body, hash } = failed.own.checkpoints[2] as Stored;
    const { rows } = await database.admin().query<{ kept: number }>(sql`
      select count(*)::int as kept
      from generate_series(0, ${body.length - 1}) as i
      where sha256(set_byte(${body}::bytea, i, get_byte(${body}::bytea, i) # 1)) = ${hash}::bytea
    `);
    expect(rows).toEqual([{ kept: 0 }]);
  });

  it('when its body was cut short, or something was added', async () => {
    const { body } = failed.own.checkpoints[2] as Stored;
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: body.length - 1 }), async (length) => {
        const cut = body.subarray(0, length);
        await place(at(3, { body: cut, hash: sha256(cut) }));
        expect(await believed()).toBe(2);
      }),
      { numRuns: 15 },
    );
    const longer = Buffer.concat([body, Buffer.from(' ')]);
    await place(at(3, { body: longer, hash: sha256(longer) }));
    expect(await believed()).toBe(2);
  });

  it.each([
    ['an older one of its own partition', () => failed.own.checkpoints[0]],
    ['one of another run', () => failed.other.checkpoints[2]],
    ['one of another agency', () => failed.foreign.checkpoints[2]],
  ])('when it is %s in its place', async (_what, pick) => {
    const { body, hash } = pick() as Stored;
    await place(at(3, { body, hash }));
    expect(await believed()).toBe(2);
    expect(await faults()).toEqual([{ partitionNo: 2, version: 3, problem: 'PLACE' }]);
  });

  it('when two were swapped', async () => {
    const [one, two, three] = failed.own.checkpoints as [Stored, Stored, Stored];
    await place([one, { ...three, version: 2 }, { ...two, version: 3 }]);
    expect(await believed()).toBe(1);
  });

  it('when somebody made a whole chain of them anew, every digest and link right', async () => {
    let previous: Buffer | null = null;
    const forged: Stored[] = failed.own.checkpoints.map((each) => {
      const told = JSON.parse(each.body.toString()) as Record<string, unknown> & { counts: Record<string, number> };
      const counts = { ...told.counts, written: 1_000 };
      const body = canonicalBytes({ ...told, counts, previousHash: previous?.toString('hex') ?? null });
      const made = { ...each, body, hash: sha256(body), previous_hash: previous };
      previous = made.hash;
      return made;
    });
    await place(forged);
    expect(await believed()).toBe(0);
    expect(await faults()).toEqual([1, 2, 3].map((version) => ({ partitionNo: 2, version, problem: 'HISTORY' })));
  });

  it('when an older state of the table was put back: what is gone is lost, and never told as missing', async () => {
    await place(failed.own.checkpoints.slice(0, 1));
    expect(await believed()).toBe(1);
    expect((await resumePlanOf(ctx(), await own())).partitions[2]).toMatchObject({ corruptedVersions: [3, 2] });
    expect(await faults()).toEqual([2, 3].map((version) => ({ partitionNo: 2, version, problem: 'LOST' })));

    await place([]);
    expect(await believed()).toBe(0);
    await expect(
      resumeRun(ctx().api, ctx(), { runId: failed.own.runId, reason: 'go on', idempotencyKey: null }),
    ).rejects.toMatchObject({ code: 'CHECKPOINT_CORRUPTED' });
  });

  it('when one in the middle is gone, nor is what was chained to it', async () => {
    await place(failed.own.checkpoints.filter(({ version }) => version !== 2));
    expect(await believed()).toBe(1);
    expect(await faults()).toEqual([
      { partitionNo: 2, version: 2, problem: 'LOST' },
      { partitionNo: 2, version: 3, problem: 'CHAIN' },
    ]);
  });

  it('when the event that it is chained to is another', async () => {
    await database.admin().query(sql`alter table flux.run_events disable trigger append_only`);
    const swap = (of: string) => sql`
      update flux.run_events set event_id = flux.uuid_v7()
      where run_id = ${of} and seq = (${JSON.parse((failed.other.checkpoints[2] as Stored).body.toString()).lastEvent.seq as number})
    `;
    await database.admin().query(swap(failed.other.runId));
    await database.admin().query(sql`alter table flux.run_events enable trigger append_only`);
    const other = (await findRunOf(ctx(), failed.other.runId)) as Run;
    expect((await verificationOf(ctx(), other)).faults).toEqual([
      { partitionNo: 2, version: 3, problem: 'LAST_EVENT' },
    ]);
  });
});

describe('a run whose checkpoints were changed', () => {
  it('goes on from the last good one, each record once, with the choice in its history and in the audit log', async () => {
    const { runId } = failed.own;
    await place(failed.own.checkpoints.slice(0, 1));
    await resumeRun(ctx().api, ctx(), { runId, reason: 'go on', idempotencyKey: null });
    await bench.drain(await bench.deps(fakeEngine(source)));
    const { status, events } = await readRun(database, runId);
    expect(status).toBe('COMPLETED');
    expect(events.find(({ name }) => name === 'CheckpointRejected')?.data).toMatchObject({
      partition: 2,
      rejectedVersions: [3, 2],
      resumesFrom: 1,
    });
    const { rows } = await database.agencyPool('nasa', 'ro').query<{ value: bigint }>(sql`
      select value from lake_nasa.own order by value
    `);
    expect(rows.map(({ value }) => Number(value))).toEqual(values);
    const rejected = (await auditOf(database, 'nasa')).find(({ action }) => action === 'checkpoint.reject');
    expect(rejected).toMatchObject({ success: false, error_code: 'CHECKPOINT_CORRUPTED', resource_id: runId });
    failed.own.checkpoints = await storedOf(runId);
    expect(await faults()).toEqual([]);
  });
});
