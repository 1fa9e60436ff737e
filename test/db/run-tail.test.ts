import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

import type { Connection } from '../../src/db/pool.ts';
import type { RunEvent } from '../../src/db/run-events.ts';
import { sql } from '../../src/db/sql.ts';
import { inTenant } from '../../src/db/transaction.ts';
import { appendEvents } from '../../src/events/append.ts';
import { createEventRing } from '../../src/events/event-ring.ts';
import { follow, type FollowDeps, type RunEventItem } from '../../src/events/follow.ts';
import { append, completes, quiet, silentHints, starts } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { insertRun } from '../support/fixtures.ts';

const database = useDatabase();
beforeAll(() => database.addAgency('nasa'));

const sealed = (): string => database.tenant('nasa');
const names = (n: number) => Array.from({ length: n }, () => ({ name: 'BatchCommitted' as const, message: 'batch' }));

async function startedRun(): Promise<string> {
  const { runId } = await insertRun(database, 'nasa');
  await append(database, 'nasa', runId, [{ name: 'RunStarted', message: 'started' }], starts);
  return runId;
}

const end = (runId: string): Promise<void> =>
  append(database, 'nasa', runId, [{ name: 'RunCompleted', message: 'done' }], completes);

/** One pool that counts what is read through it. */
function counting(): FollowDeps & { reads: number } {
  const pool = database.apiPool();
  const deps = {
    reads: 0,
    pool: {
      ...pool,
      withConnection: <T>(use: (connection: Connection) => Promise<T>): Promise<T> => {
        deps.reads += 1;
        return pool.withConnection(use);
      },
    },
    hints: silentHints(),
    logger: quiet,
    pollMs: 15,
  };
  return deps;
}

const seqOf = (item: RunEventItem): bigint | string => ('kind' in item ? item.kind : item.seq);
const between = (after: bigint, last: number): (bigint | string)[] => [
  ...Array.from({ length: last - Number(after) }, (_, i) => after + BigInt(i + 1)),
  'end',
];

describe('readers who share a run’s live end', () => {
  it('each get everything after their own place once and in order, however fast they read', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 5 }), // events per transaction
        fc.array(
          fc.record({
            after: fc.integer({ min: 0, max: 200 }),
            most: fc.integer({ min: 1, max: 64 }),
            // Looked at and not taken: what a client that has no room does.
            waste: fc.integer({ min: 0, max: 3 }),
            late: fc.integer({ min: 0, max: 5 }),
          }),
          { minLength: 2, maxLength: 6 },
        ),
        async (batches, readers) => {
          const runId = await startedRun();
          const total = batches.reduce((sum, size) => sum + size, 2);
          const deps = counting();
          let written = 0;
          const progress: (() => void)[] = [];
          const writing = (async () => {
            for (const size of batches) {
              await append(database, 'nasa', runId, names(size));
              written += 1;
              for (const call of progress.splice(0)) call();
            }
            await end(runId);
            written = Infinity;
            for (const call of progress.splice(0)) call();
          })();
          const results = await Promise.all(
            readers.map(async ({ after, most, waste, late }) => {
              while (written < late) await new Promise<void>((resolve) => progress.push(resolve));
              const afterSeq = BigInt(Math.min(after, total));
              const signal = new AbortController().signal;
              const { batches: stream } = follow(deps, { sealed, runId, afterSeq, signal, viewer: 'same' });
              const seen: RunEventItem[] = [];
              for (let looks = 0; ; looks += 1) {
                const items = await stream.look(most);
                if (!items) break;
                if (waste > 0 && looks % (waste + 1) !== 0) continue;
                const taken = items.slice(0, Math.max(1, items.length - waste));
                seen.push(...taken);
                stream.take(taken);
              }
              return { afterSeq, seen: seen.map(seqOf) };
            }),
          );
          await writing;
          for (const { afterSeq, seen } of results) expect(seen).toEqual(between(afterSeq, total));
          expect(deps.hints).toMatchObject({ waiters: 0 });
        },
      ),
      { numRuns: 20 },
    );
  });

  it('read the table once, not once each, and get the same objects', async () => {
    const runId = await startedRun();
    await append(database, 'nasa', runId, names(40));
    await end(runId);
    const deps = counting();
    const all = await Promise.all(
      Array.from({ length: 50 }, async () => {
        const items: RunEventItem[] = [];
        const signal = new AbortController().signal;
        for await (const item of follow(deps, { sealed, runId, afterSeq: 0n, signal, viewer: 'same' }))
          items.push(item);
        return items;
      }),
    );
    expect(all.every((items) => items.length === 43)).toBe(true);
    expect(new Set(all.flat()).size).toBe(43);
    expect(deps.reads).toBeLessThan(6);
  });

  it('see nothing of those with other rights', async () => {
    const runId = await startedRun();
    const deps = counting();
    const signal = new AbortController().signal;
    const open = (viewer: string, context: () => string) =>
      follow(deps, { sealed: context, runId, afterSeq: 0n, signal, viewer });
    const own = open('nasa', sealed);
    await own.next();
    await database.addAgency('noaa');
    const other = open('noaa', () => database.tenant('noaa'));
    await expect(other.next()).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await own.return();
  });

  it('go on with the context of another when the one whose it was is out of date', async () => {
    const runId = await startedRun();
    const deps = counting();
    let expired = false;
    const signal = new AbortController().signal;
    const first = follow(deps, {
      sealed: () => {
        if (expired) throw new Error('expired');
        return sealed();
      },
      runId,
      afterSeq: 0n,
      signal,
      viewer: 'same',
    });
    const second = follow(deps, { sealed, runId, afterSeq: 0n, signal, viewer: 'same' });
    await Promise.all([first.next(), second.next()]);
    expired = true;
    await append(database, 'nasa', runId, names(1));
    expect((await second.next()).value).toMatchObject({ seq: 2n });
    await Promise.all([first.return(), second.return()]);
  });

  it('who are still reading an attempt when the next begins are told its end', async () => {
    const runId = await startedRun();
    await append(database, 'nasa', runId, names(5));
    const deps = counting();
    const signal = new AbortController().signal;
    const slow = follow(deps, { sealed, runId, afterSeq: 0n, signal, viewer: 'same' });
    const quick = follow(deps, { sealed, runId, afterSeq: 0n, signal, viewer: 'same' });
    await slow.next();
    await append(database, 'nasa', runId, [{ name: 'RunFailed', message: 'failed' }], {
      from: ['IN_PROGRESS'],
      to: 'FAILED',
      finishes: true,
      failure: { class: 'TERMINAL', code: 'INTERNAL', message: 'x' },
    });
    for await (const _item of quick);
    await inTenant(database.apiPool(), sealed(), (tx) =>
      appendEvents(tx, { agencyId: 'nasa', runId }, [{ name: 'RunResumed', message: 'resumed' }], {
        from: ['FAILED'],
        to: 'PENDING',
        resumes: true,
      }),
    );
    const rest: RunEventItem[] = [];
    for await (const item of slow) rest.push(item);
    expect(rest.map(seqOf)).toEqual([2n, 3n, 4n, 5n, 6n, 7n, 'end']);
    expect(rest.at(-1)).toMatchObject({ status: 'FAILED', attempt: 1, lastSeq: 7n });
    const again = follow(deps, { sealed, runId, afterSeq: 7n, signal, viewer: 'same' });
    expect((await again.next()).value).toMatchObject({ name: 'RunResumed', seq: 8n });
    await again.return();
  });

  it('behind the ring hear of what retention has removed, as one gap', async () => {
    const runId = await startedRun();
    await append(database, 'nasa', runId, names(700));
    await database.admin().query(sql`delete from flux.run_events where run_id = ${runId} and seq between 2 and 600`);
    await end(runId);
    const items: RunEventItem[] = [];
    const signal = new AbortController().signal;
    for await (const item of follow(counting(), { sealed, runId, afterSeq: 0n, signal })) items.push(item);
    expect(items.filter((item) => 'kind' in item)).toMatchObject([
      { kind: 'gap', fromSeq: 2n, toSeq: 600n },
      { kind: 'end', lastSeq: 702n },
    ]);
    expect(items).toHaveLength(105);
  });
});

describe('the ring of a run’s newest events', () => {
  const event = (seq: number, text = ''): RunEvent =>
    ({ seq: BigInt(seq), message: text, data: {} }) as unknown as RunEvent;

  it('holds no more than its bounds, and no hole', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 3 }), fc.string({ maxLength: 50 }))), (steps) => {
        const ring = createEventRing({ events: 10, bytes: 200 });
        let seq = 0;
        for (const [step, text] of steps) {
          seq += step;
          ring.append([event(seq, text)]);
          const { events, bytes } = ring.size();
          expect(events).toBeLessThanOrEqual(10);
          expect(bytes <= 200 || events === 1).toBe(true);
          const held = ring.after(BigInt(seq - events), 100) ?? [];
          expect(held.map((one) => Number(one.seq))).toEqual(
            Array.from({ length: events }, (_, i) => seq - events + i + 1),
          );
          expect(ring.after(BigInt(seq - events - 1), 100)).toBeUndefined();
          expect(ring.after(BigInt(seq + 5), 100)).toEqual([]);
        }
      }),
    );
  });
});
