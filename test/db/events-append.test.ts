import { beforeAll, describe, expect, it } from 'vitest';

import type { Pool } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import { inTenant, inTransaction } from '../../src/db/transaction.ts';
import { appendEvents, type NewRunEvent, type RunTransition } from '../../src/events/append.ts';
import { useDatabase } from '../support/database.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const note: NewRunEvent = {
  name: 'PartitionClaimed',
  message: 'Partition 1 claimed.',
  partitionNo: 1,
  data: { partition: 1 },
};
const starts: RunTransition = { from: ['PENDING'], to: 'IN_PROGRESS', starts: true };
const completes: RunTransition = { from: ['IN_PROGRESS'], to: 'COMPLETED', finishes: true };

beforeAll(async () => {
  await database.addAgency('usgs');
  await database.addAgency('noaa');
  await bench.addPipeline({ agency: 'usgs' });
});

const append = (pool: Pool, runId: string, events: NewRunEvent[], transition?: RunTransition) =>
  pool.withConnection((connection) =>
    inTransaction(connection, (tx) => appendEvents(tx, { agencyId: 'usgs', runId }, events, transition)),
  );

describe('appendEvents', () => {
  it('gives contiguous numbers in commit order, with no gap visible to any reader, while many write at once', async () => {
    const runId = await bench.queueRun('usgs', 'numbers');
    const pool = database.agencyPool('usgs');
    let writing = true;
    const reader = (async () => {
      let seen = 0;
      while (writing) {
        const { rows: found } = await database.admin().query<{ n: bigint; most: bigint }>(sql`
          select count(*) as n, coalesce(max(seq), 0) as most from flux.run_events where run_id = ${runId}
        `);
        expect(found[0]?.n).toBe(found[0]?.most);
        seen += 1;
      }
      return seen;
    })();
    const writers = Array.from({ length: 4 }, async (_, writer) => {
      for (let i = 0; i < 20; i += 1) {
        await append(pool, runId, [note, note]);
        if (i % 5 === writer) {
          // This one had its number when it rolled back: the next must get the same.
          const rolledBack = pool.withConnection((connection) =>
            inTransaction(connection, async (tx) => {
              await appendEvents(tx, { agencyId: 'usgs', runId }, [note]);
              throw new Error('rolled back');
            }),
          );
          await expect(rolledBack).rejects.toThrow('rolled back');
        }
      }
    });
    await Promise.all(writers);
    writing = false;
    expect(await reader).toBeGreaterThan(1);
    const { rows } = await database.admin().query<{ seq: bigint; at: Date }>(sql`
      select seq, at from flux.run_events where run_id = ${runId} order by seq
    `);
    expect(rows.map(({ seq }) => Number(seq))).toEqual(Array.from({ length: 161 }, (_, i) => i + 1));
    expect(rows.every(({ at }, i) => i === 0 || at >= (rows[i - 1] as { at: Date }).at)).toBe(true);
  });

  it('changes the run in the same statement, and lets nothing follow the end', async () => {
    const runId = await bench.queueRun('usgs', 'numbers', { traceId: 't-1' });
    const pool = database.agencyPool('usgs');
    const [started] = await append(pool, runId, [{ name: 'RunStarted', message: 'Started.' }], starts);
    expect(started?.seq).toBe(2n);
    await append(pool, runId, [note, { name: 'RunCompleted', message: 'Completed.' }], completes);
    await expect(append(pool, runId, [note])).rejects.toMatchObject({ code: 'INVALID_TRANSITION' });
    await expect(append(pool, runId, [{ name: 'RunCompleted', message: 'Again.' }], completes)).rejects.toMatchObject({
      code: 'INVALID_TRANSITION',
    });
    const { rows } = await database.admin().query(sql`
      select status, last_seq, version, started_at is not null as started, finished_at is not null as finished
      from flux.runs where run_id = ${runId}
    `);
    expect(rows).toEqual([{ status: 'COMPLETED', last_seq: 4n, version: 4n, started: true, finished: true }]);
    const { rows: events } = await database
      .admin()
      .query(sql`select distinct trace_id, attempt from flux.run_events where run_id = ${runId}`);
    expect(events).toEqual([{ trace_id: 't-1', attempt: 1 }]);
  });

  it('refuses a transition from another state', async () => {
    const runId = await bench.queueRun('usgs', 'numbers');
    await expect(
      append(database.agencyPool('usgs'), runId, [{ name: 'RunCompleted', message: 'Completed.' }], completes),
    ).rejects.toThrow(/is not IN_PROGRESS any more/);
  });

  it('does not reach another agency’s run, by its login or by a sealed context', async () => {
    const runId = await bench.queueRun('usgs', 'numbers');
    await expect(append(database.agencyPool('noaa'), runId, [note])).rejects.toMatchObject({
      code: 'INVALID_TRANSITION',
    });
    const sealed = inTenant(database.apiPool(), database.tenant('noaa'), (tx) =>
      appendEvents(tx, { agencyId: 'usgs', runId }, [note]),
    );
    await expect(sealed).rejects.toMatchObject({ code: 'INVALID_TRANSITION' });
  });

  it.each<[string, NewRunEvent[], RunTransition | undefined]>([
    ['no event', [], undefined],
    ['an ending without an end', [{ name: 'RunCompleted', message: 'x' }], undefined],
    ['an end without an ending', [note], completes],
    ['an event after the ending', [{ name: 'RunCompleted', message: 'x' }, note], completes],
    [
      'two endings',
      [
        { name: 'RunFailed', message: 'x' },
        { name: 'RunCompleted', message: 'x' },
      ],
      completes,
    ],
    [
      'an end that does not finish',
      [{ name: 'RunCompleted', message: 'x' }],
      { from: ['IN_PROGRESS'], to: 'COMPLETED' },
    ],
    ['a start that finishes', [note], { ...starts, finishes: true }],
  ])('refuses %s as our own mistake', async (_what, events, transition) => {
    const never = { query: () => Promise.reject(new Error('the database was asked')) };
    await expect(appendEvents(never, { agencyId: 'usgs', runId: 'x' }, events, transition)).rejects.toThrow(TypeError);
  });

  it('stores texts that PostgreSQL has no place for as what stands for them', async () => {
    const runId = await bench.queueRun('usgs', 'numbers');
    await append(database.agencyPool('usgs'), runId, [{ ...note, message: 'a\0b', data: { raw: 'c\0d\ud800' } }]);
    const { rows } = await database
      .admin()
      .query(sql`select message, data from flux.run_events where run_id = ${runId} and seq = 2`);
    expect(rows).toEqual([{ message: 'a␀b', data: { raw: 'c␀d�' } }]);
  });
});
