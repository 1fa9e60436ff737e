import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

import { auditEntries } from '../../resolvers/audit-entry.ts';
import { backfills, datesOf } from '../../resolvers/backfill.ts';
import { connections } from '../../resolvers/connection.ts';
import type { Page, PageArgs } from '../../resolvers/cursor.ts';
import { runEventLog } from '../../resolvers/run-event.ts';
import { runs, totalCount } from '../../resolvers/run.ts';
import { schedules, ticksOf } from '../../resolvers/schedule.ts';
import { deliveries, webhooks } from '../../resolvers/webhook.ts';
import { appendAudit } from '../../src/audit/append.ts';
import { sql } from '../../src/db/sql.ts';
import { append, contextOf } from '../support/api.ts';
import { scratchAnchor, sealAll } from '../support/audit.ts';
import { useDatabase } from '../support/database.ts';
import { insertRun } from '../support/fixtures.ts';

const database = useDatabase();
beforeAll(() => database.addAgency('nasa'));
const ctx = () => contextOf(database, 'nasa', { role: 'admin' });

type Read<T> = (args: PageArgs) => Promise<Page<T>>;

/** Walks a list to its end and calls `between` after each page. */
async function walk<T>(
  read: Read<T>,
  way: 'forward' | 'backward',
  size: number,
  between?: () => Promise<unknown>,
): Promise<T[]> {
  const all: T[] = [];
  let cursor: string | null = null;
  for (let pages = 0; pages < 100; pages += 1) {
    const args: PageArgs = way === 'forward' ? { first: size, after: cursor } : { last: size, before: cursor };
    const { edges, pageInfo } = await read(args);
    const nodes = edges.map(({ node }) => node);
    if (way === 'forward') all.push(...nodes);
    else all.unshift(...nodes);
    expect(pageInfo).toMatchObject({
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
      [way === 'forward' ? 'hasPreviousPage' : 'hasNextPage']: pages > 0,
    });
    if (!(way === 'forward' ? pageInfo.hasNextPage : pageInfo.hasPreviousPage)) return all;
    cursor = way === 'forward' ? pageInfo.endCursor : pageInfo.startCursor;
    await between?.();
  }
  throw new Error('the list has no end');
}

/** Seven each of what schedules, backfills and webhooks have. */
async function insertDated(runId: string): Promise<void> {
  const admin = database.admin();
  for (const statement of [
    sql`insert into flux.schedules (agency_id, name, pipeline_name, classification, cron, time_zone, catch_up, catch_up_limit, overlap,
          status, created_by)
        select 'nasa', 's' || n, 'p', 0, '0 * * * *', 'UTC', 'NONE', 1, 'SKIP', 'PAUSED', 'test' from generate_series(1, 7) n`,
    sql`insert into flux.schedule_ticks (agency_id, schedule_id, tick_at, status, reason)
        select agency_id, schedule_id, timestamptz '2026-01-01' + n * interval '1 hour', 'SKIPPED', 'OVERLAP'
        from flux.schedules, generate_series(1, 7) n`,
    sql`insert into flux.backfills (agency_id, pipeline_name, classification, first_date, last_date, step, concurrency, status,
          requested_by, finished_at)
        select 'nasa', 'p', 0, '2026-01-01', '2026-01-07', 'DAY', 1, 'COMPLETED', 'test', now() from generate_series(1, 7)`,
    sql`insert into flux.backfill_dates (agency_id, backfill_id, date, status)
        select agency_id, backfill_id, date '2026-01-01' + n, 'COMPLETED' from flux.backfills, generate_series(0, 6) n`,
    sql`insert into flux.webhooks (agency_id, url, types, clearance, secret, created_by)
        select 'nasa', 'https://example.gov/' || n, array['gov.flux.run.failed'], 0,
          decode(repeat('00', 60), 'hex'), 'test' from generate_series(1, 7) n`,
    sql`insert into flux.webhook_deliveries (agency_id, webhook_id, run_id, seq, type, data, occurred_at, status, finished_at)
        select agency_id, webhook_id, ${runId}, n, 'gov.flux.run.failed', '{}', now(), 'DELIVERED', now()
        from flux.webhooks, generate_series(1, 7) n`,
  ]) {
    await admin.query(statement);
  }
}

describe('pages of a list', () => {
  it('give what was there at the start once and in order, both ways, while rows are inserted', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 7 }),
        fc.constantFrom('forward' as const, 'backward' as const),
        fc.constantFrom('ASC' as const, 'DESC' as const),
        fc.integer({ min: 0, max: 3 }), // runs that come between two pages
        async (size, way, direction, inserts) => {
          const pipeline = `p${String(Math.random()).slice(2, 12)}`;
          const insert = async (): Promise<string> => (await insertRun(database, 'nasa', { pipeline })).runId;
          const ids: string[] = [];
          for (let i = 0; i < 9; i += 1) ids.push(await insert());
          const read: Read<{ id: string }> = (args) =>
            runs(ctx(), { ...args, filter: { pipeline }, orderBy: { direction } });
          let added = 0;
          const found = await walk(read, way, size, async () => {
            for (; added < inserts; added += 1) await insert();
          });
          const old = found.map(({ id }) => id).filter((id) => ids.includes(id));
          // Of two that come within a millisecond, PostgreSQL before 18 gives either the smaller id.
          const inOrder = ids.toSorted();
          expect(old).toEqual(direction === 'ASC' ? inOrder : inOrder.toReversed());
          expect(new Set(found.map(({ id }) => id)).size).toBe(found.length);
        },
      ),
      { numRuns: 15 },
    );
  });

  it('are the same whichever way one walks, for every kind of list', async () => {
    const { runId } = await insertRun(database, 'nasa');
    const names = ['BatchCommitted', 'CheckpointSaved'] as const;
    const events = Array.from({ length: 11 }, () => names.map((name) => ({ name, message: 'x' }))).flat();
    await append(database, 'nasa', runId, events);
    await database.admin().query(sql`
      insert into flux.connections (agency_id, name, kind, config, created_by)
      select 'nasa', 'c' || n, 'file', '{}', 'test' from generate_series(1, 7) n
    `);
    await insertDated(runId);
    for (let n = 0; n < 7; n += 1) {
      await database.agencyPool('nasa').withConnection((tx) =>
        appendAudit(tx, {
          actor: 'worker:test',
          role: 'worker',
          action: 'test.done',
          resourceType: 'run',
          success: true,
        }),
      );
    }
    const anchor = await scratchAnchor();
    await sealAll(database, anchor);
    await anchor.remove();
    const [backfill] = (await backfills(ctx(), { first: 1 })).edges;
    const [schedule] = (await schedules(ctx(), { first: 1 })).edges;
    const [webhook] = (await webhooks(ctx(), { first: 1 })).edges;
    if (!backfill || !schedule || !webhook) throw new Error('the lists are empty');
    const webhookId = Buffer.from(`Webhook:${webhook.node.id}`).toString('base64url');
    const lists: Record<string, Read<object>> = {
      backfills: (args) => backfills(ctx(), args),
      dates: (args) => datesOf(ctx(), backfill.node, args),
      schedules: (args) => schedules(ctx(), args),
      ticks: (args) => ticksOf(ctx(), schedule.node, args),
      webhooks: (args) => webhooks(ctx(), args),
      deliveries: (args) => deliveries(ctx(), { ...args, webhookId }),
      events: (args) => runEventLog(ctx(), { ...args, runId }),
      batches: (args) => runEventLog(ctx(), { ...args, runId, names: ['BatchCommitted'] }),
      connections: (args) => connections(ctx(), args),
      audit: (args) => auditEntries(ctx(), args),
    };
    for (const [name, read] of Object.entries(lists)) {
      const forward = await walk(read, 'forward', 3);
      expect(forward.length, name).toBeGreaterThanOrEqual(7);
      expect(await walk(read, 'backward', 3)).toEqual(forward);
      expect(await walk(read, 'backward', 200)).toEqual(forward);
    }
  });

  it('go one way at a time, with an end and a size that make sense', async () => {
    const refused = [
      { first: 1, last: 1 },
      { first: 1, before: 'x' },
      { last: 1, after: 'x' },
      { last: 0 },
      { first: -1 },
      { before: 'x' },
    ];
    for (const args of refused) await expect(runs(ctx(), args)).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    await expect(runs(ctx(), { last: 201 })).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' });
  });

  it('know how many there are in all', async () => {
    for (let i = 0; i < 3; i += 1) await insertRun(database, 'nasa', { pipeline: 'counted' });
    const page = await runs(ctx(), { first: 1, filter: { pipeline: 'counted' } });
    expect(await totalCount(ctx(), page)).toBe(3n);
  });
});
