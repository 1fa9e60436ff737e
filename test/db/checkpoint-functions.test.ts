import { createHash } from 'node:crypto';

import { beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { cleanupExpiredCheckpoints, validateCheckpoint } from '../../src/db/checkpoints.ts';
import type { Pool } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import { inTenant, inTransaction } from '../../src/db/transaction.ts';
import { toFluxError } from '../../src/errors.ts';
import { useDatabase } from '../support/database.ts';
import { checkpointBytes, insertRun, type RunFixture } from '../support/fixtures.ts';

const database = useDatabase();
let run: RunFixture;
let nasa: Pool;

beforeAll(async () => {
  await database.addAgency('nasa');
  await database.addAgency('noaa');
  nasa = database.agencyPool('nasa');
});
beforeEach(async () => {
  run = await insertRun(database, 'nasa', { partitions: 2 });
});

interface Saved {
  id: string;
  body: Buffer;
  hash: Buffer;
}

/** Saves the next version as the agency's own login; `bytes` may differ from what it should store. */
async function save(
  version: number,
  previous: Saved | null,
  bytes?: { body: Buffer; hash: Buffer },
  options: { partition?: number; epoch?: number; expiresAt?: Date | null } = {},
): Promise<Saved> {
  const { partition = 0, epoch = 1, expiresAt = null } = options;
  const previousHash = previous === null ? null : previous.hash.toString('hex');
  const { body, hash } =
    bytes ?? checkpointBytes({ ...run, partition, version, epoch, previousHash }, { cursor: String(version) });
  const { rows } = await nasa.query<{ id: string }>(sql`
    select flux.save_checkpoint(${run.runId}, ${partition}, ${version}, ${epoch}, 'IN_PROGRESS', 'write', ${body}, ${hash},
      ${expiresAt}) as id
  `);
  return { id: (rows[0] as { id: string }).id, body, hash };
}

async function saveChain(length: number, options: { partition?: number; expiresAt?: Date } = {}): Promise<Saved[]> {
  const saved: Saved[] = [];
  for (let version = 1; version <= length; version += 1) {
    saved.push(await save(version, saved.at(-1) ?? null, undefined, options));
  }
  return saved;
}

async function load(partition = 0): Promise<{ version: number; corrupted: number[]; body: Buffer } | undefined> {
  const { rows } = await nasa.query<{ version: number; corrupted: number[]; body: Buffer }>(
    sql`select version, corrupted, body from flux.load_checkpoint(${run.runId}, ${partition})`,
  );
  return rows[0];
}

/** Changes a stored checkpoint as only somebody with the database's own power could. */
async function tamper(
  version: number,
  change: { body?: Buffer; hash?: Buffer; previousHash?: Buffer },
  partition = 0,
): Promise<void> {
  await database.admin().query(sql`
    update flux.checkpoints
    set body = coalesce(${change.body ?? null}, body),
        hash = coalesce(${change.hash ?? null}, hash),
        previous_hash = coalesce(${change.previousHash ?? null}, previous_hash)
    where run_id = ${run.runId} and partition_no = ${partition} and version = ${version}
  `);
}

describe('flux.save_checkpoint', () => {
  test('stores each version behind its predecessor and returns its id', async () => {
    const chain = await saveChain(3);
    expect(new Set(chain.map(({ id }) => id)).size).toBe(3);
    expect(await load()).toMatchObject({ version: 3, corrupted: [], body: chain[2]?.body });
  });

  test('finds the predecessor without reading the checkpoints before it, also where nothing was ever analysed', async () => {
    const count = 60;
    const read = await nasa.withConnection((session) =>
      inTransaction(session, async (tx) => {
        let previousHash: string | null = null;
        for (let version = 1; version <= count; version += 1) {
          const { body, hash } = checkpointBytes({ ...run, partition: 0, version, epoch: 1, previousHash });
          await tx.query(
            sql`select flux.save_checkpoint(${run.runId}, 0, ${version}, 1, 'IN_PROGRESS', 'write', ${body}, ${hash})`,
          );
          previousHash = hash.toString('hex');
        }
        const { rows } = await tx.query<{ fetched: number }>(sql`
          select (seq_tup_read + idx_tup_fetch)::int as fetched from pg_stat_xact_all_tables where relid = 'flux.checkpoints'::regclass
        `);
        return rows[0]?.fetched;
      }),
    );
    // Read one by one it were 1,770.
    expect(read).toBeLessThan(2 * count);
  });

  test('refuses bytes that do not have the digest', async () => {
    const { body } = checkpointBytes({ ...run, partition: 0, version: 1, epoch: 1, previousHash: null });
    const wrong = { body, hash: Buffer.alloc(32, 7) };
    await expect(save(1, null, wrong)).rejects.toMatchObject({ code: 'FX001' });
  });

  test.each<[what: string, place: Partial<Parameters<typeof checkpointBytes>[0]>]>([
    ['another agency', { agency: 'noaa' }],
    ['another run', { runId: '00000000-0000-7000-8000-000000000000' }],
    ['another partition', { partition: 1 }],
    ['another version', { version: 2 }],
    ['another epoch', { epoch: 2 }],
    ['another predecessor', { previousHash: 'ab'.repeat(32) }],
  ])('refuses the bytes of %s, although they hash well', async (_what, place) => {
    const bytes = checkpointBytes({ ...run, partition: 0, version: 1, epoch: 1, previousHash: null, ...place });
    const failure = await save(1, null, bytes).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'FX001' });
    expect(toFluxError(failure)).toMatchObject({ code: 'CHECKPOINT_CORRUPTED', class: 'CHECKPOINT' });
  });

  test.each([
    ['not JSON', Buffer.from('{"agency":')],
    ['not UTF-8', Buffer.from([0xff, 0xfe, 0x00])],
    ['an empty text', Buffer.alloc(0)],
    ['JSON that is no object', Buffer.from('[1,2]')],
    ['JSON that does not say where it belongs', Buffer.from('{"cursor":"1"}')],
    ['numbers that are words', Buffer.from('{"agency":"nasa","partition":"none"}')],
  ])('refuses a body that is %s', async (_what, body) => {
    const bytes = { body, hash: createHash('sha256').update(body).digest() };
    await expect(save(1, null, bytes)).rejects.toMatchObject({ code: 'FX001' });
  });

  test('refuses a version whose predecessor is missing', async () => {
    await expect(save(2, { id: '', body: Buffer.alloc(0), hash: Buffer.alloc(32) })).rejects.toMatchObject({
      code: 'FX001',
    });
  });

  test('refuses a version that links to another predecessor than the stored one', async () => {
    await saveChain(1);
    await expect(save(2, { id: '', body: Buffer.alloc(0), hash: Buffer.alloc(32, 1) })).rejects.toMatchObject({
      code: 'FX001',
    });
  });

  test('lets a batch happen once: the same version again is a unique violation', async () => {
    await saveChain(2);
    await expect(save(1, null)).rejects.toMatchObject({ code: '23505' });
  });

  test('refuses a run of another agency', async () => {
    const own = run;
    run = { ...(await insertRun(database, 'noaa')), agency: 'nasa' };
    await expect(save(1, null)).rejects.toMatchObject({ code: '23503' });
    run = own;
  });

  test('is not for the API, which only reads', async () => {
    const { body, hash } = checkpointBytes({ ...run, partition: 0, version: 1, epoch: 1, previousHash: null });
    const attempt = inTenant(database.apiPool(), database.tenant('nasa'), (tx) =>
      tx.query(sql`select flux.save_checkpoint(${run.runId}, 0, 1, 1, 'IN_PROGRESS', 'write', ${body}, ${hash})`),
    );
    await expect(attempt).rejects.toMatchObject({ code: '42501' });
  });
});

describe('flux.load_checkpoint', () => {
  test('gives no row when none was ever saved', async () => {
    expect(await load()).toBeUndefined();
  });

  test('finds every corrupted byte, and passes over to the version before', async () => {
    const [first, second] = (await saveChain(2)) as [Saved, Saved];
    for (let at = 0; at < second.body.length; at += 1) {
      const body = Buffer.from(second.body);
      body[at] = (body[at] as number) ^ 0x20;
      await tamper(2, { body });
      expect(await load(), `byte ${String(at)}`).toMatchObject({ version: 1, corrupted: [2], body: first.body });
    }
  });

  test('passes over truncated bytes, another digest and a broken link, newest first', async () => {
    const chain = await saveChain(4);
    await tamper(4, { body: (chain[3] as Saved).body.subarray(0, 20) });
    await tamper(3, { hash: Buffer.alloc(32, 3) });
    await tamper(2, { previousHash: Buffer.alloc(32, 2) });
    expect(await load()).toMatchObject({ version: 1, corrupted: [4, 3, 2] });
  });

  test('does not take an older version put in the newest one’s place', async () => {
    const chain = await saveChain(3);
    const older = chain[1] as Saved;
    await tamper(3, { body: older.body, hash: older.hash });
    expect(await load()).toMatchObject({ version: 2, corrupted: [3] });
  });

  test('does not take two versions that were swapped', async () => {
    const [, second, third] = (await saveChain(3)) as [Saved, Saved, Saved];
    await tamper(2, { body: third.body, hash: third.hash });
    await tamper(3, { body: second.body, hash: second.hash });
    expect(await load()).toMatchObject({ version: 1, corrupted: [3, 2] });
  });

  test('does not take the checkpoint of another partition or run', async () => {
    const [mine] = (await saveChain(1)) as [Saved];
    const [theirs] = (await saveChain(1, { partition: 1 })) as [Saved];
    await tamper(1, { body: theirs.body, hash: theirs.hash });
    await expect(load()).rejects.toMatchObject({ code: 'FX001' });
    const other = run;
    run = await insertRun(database, 'nasa');
    await saveChain(1);
    await tamper(1, { body: mine.body, hash: mine.hash });
    await expect(load()).rejects.toMatchObject({ code: 'FX001' });
    expect(other.runId).not.toBe(run.runId);
  });

  test('fails with CHECKPOINT_CORRUPTED when not one version is intact', async () => {
    await saveChain(2);
    await tamper(1, { body: Buffer.from('{}') });
    await tamper(2, { body: Buffer.from('{}') });
    await expect(load()).rejects.toMatchObject({ code: 'FX001', message: expect.stringContaining('{2,1}') });
  });

  test('keeps a version whose predecessor’s digest was changed out: its link proves nothing any more', async () => {
    await saveChain(2);
    await tamper(1, { hash: Buffer.alloc(32, 9) });
    await expect(load()).rejects.toMatchObject({ code: 'FX001' });
  });

  test('shows another agency nothing', async () => {
    await saveChain(1);
    const { rows } = await database.agencyPool('noaa').query(sql`select from flux.load_checkpoint(${run.runId}, 0)`);
    expect(rows).toEqual([]);
  });
});

describe('flux.validate_checkpoint_integrity', () => {
  test('tells verified, corrupted and absent apart, for the API too', async () => {
    const [first, second] = (await saveChain(2)) as [Saved, Saved];
    await tamper(2, { body: Buffer.from('{"cursor":"9"}') });
    const told = await inTenant(database.apiPool(), database.tenant('nasa'), async (tx) => [
      await validateCheckpoint(tx, first.id),
      await validateCheckpoint(tx, second.id),
      await validateCheckpoint(tx, '00000000-0000-7000-8000-000000000000'),
    ]);
    expect(told).toEqual(['VERIFIED', 'CORRUPTED', null]);
  });

  test('knows no checkpoint of another agency', async () => {
    const [first] = (await saveChain(1)) as [Saved];
    const told = await inTenant(database.apiPool(), database.tenant('noaa'), (tx) => validateCheckpoint(tx, first.id));
    expect(told).toBeNull();
  });
});

describe('flux.cleanup_expired_checkpoints', () => {
  const past = new Date('2020-01-01T00:00:00Z');

  async function finish(status: 'COMPLETED' | 'IN_PROGRESS'): Promise<void> {
    await database.admin().query(sql`
      update flux.runs
      set status = 'IN_PROGRESS'
      where run_id = ${run.runId}
    `);
    await database.admin().query(sql`
      update flux.runs
      set status = ${status}, finished_at = case when ${status} = 'COMPLETED' then now() end
      where run_id = ${run.runId}
    `);
  }

  test('removes a finished run’s expired partitions whole, and nothing of a run that goes on', async () => {
    await saveChain(3, { expiresAt: past });
    await finish('IN_PROGRESS');
    expect(await cleanupExpiredCheckpoints(nasa, 100)).toBe(0n);
    await finish('COMPLETED');
    expect(await cleanupExpiredCheckpoints(nasa, 100)).toBe(3n);
    expect(await load()).toBeUndefined();
  });

  test('keeps a chain of which one version has not expired: without its head it would read as corrupted', async () => {
    const first = await save(1, null, undefined, { expiresAt: past });
    await save(2, first);
    await finish('COMPLETED');
    expect(await cleanupExpiredCheckpoints(nasa, 100)).toBe(0n);
    expect(await load()).toMatchObject({ version: 2 });
  });

  test('removes at most the given number of partitions at a time, and none of another agency', async () => {
    await saveChain(2, { expiresAt: past });
    await saveChain(2, { expiresAt: past, partition: 1 });
    await finish('COMPLETED');
    expect(await cleanupExpiredCheckpoints(database.agencyPool('noaa'), 100)).toBe(0n);
    expect(await cleanupExpiredCheckpoints(nasa, 1)).toBe(2n);
    expect(await cleanupExpiredCheckpoints(nasa, 1)).toBe(2n);
    expect(await cleanupExpiredCheckpoints(nasa, 1)).toBe(0n);
  });
});

test('a checkpoint that is saved in a transaction that rolls back was never there', async () => {
  const bytes = checkpointBytes({ ...run, partition: 0, version: 1, epoch: 1, previousHash: null });
  const broken = nasa.withConnection((connection) =>
    inTransaction(connection, async (tx) => {
      await tx.query(
        sql`select flux.save_checkpoint(${run.runId}, 0, 1, 1, 'IN_PROGRESS', 'write', ${bytes.body}, ${bytes.hash})`,
      );
      throw new Error('the batch failed after its checkpoint');
    }),
  );
  await expect(broken).rejects.toThrow('the batch failed');
  expect(await load()).toBeUndefined();
});
