/** The agency's feed of changed runs (migrations/0045): each run stands in it once, at its newest change. */
import type { Connection, Queryable } from './pool.ts';
import { readRuns, type Run, runConditions, type RunFilter } from './runs.ts';
import { join, sql } from './sql.ts';

const numberedAtOnce = 1_000;

/**
 * Numbers what has changed and is committed, as far as the session may see it, and returns the feed's last number. A run that
 * somebody is changing now is left for the next time. Takes the feed's lock only when there is something to number, and for 1,000
 * runs at most: where nobody had read the feed, all that ran meanwhile is to be numbered, and `more` says that some of it is left.
 */
export async function numberRunChanges(tx: Connection): Promise<{ place: bigint; more: boolean }> {
  const { rows } = await tx.query<{ lastSeq: bigint | null; changed: boolean }>(sql`
    select
      (select last_seq from flux.run_feeds where agency_id = (select flux.current_agency())) as "lastSeq",
      exists (select from flux.runs where agency_id = (select flux.current_agency()) and feed_seq is null) as changed
  `);
  const seen = rows[0];
  if (!seen?.changed) return { place: seen?.lastSeq ?? 0n, more: false };
  await tx.query(sql`
    insert into flux.run_feeds (agency_id) values (flux.current_agency()) on conflict do nothing
  `);
  await tx.query(sql`select from flux.run_feeds where agency_id = (select flux.current_agency()) for update`);
  const numbered = await tx.query<{ lastSeq: bigint; placed: bigint }>(sql`
    with changed as materialized (
      select agency_id, run_id, updated_at
      from flux.runs
      where agency_id = (select flux.current_agency())
        and feed_seq is null
      order by run_id
      limit ${numberedAtOnce}
      for no key update skip locked
    ), placed as (
      select c.agency_id, c.run_id, f.last_seq + row_number() over (order by c.updated_at, c.run_id) as seq
      from changed c
      join flux.run_feeds f on f.agency_id = c.agency_id
    ), moved as (
      update flux.runs r
      set feed_seq = placed.seq
      from placed
      where r.agency_id = placed.agency_id
        and r.run_id = placed.run_id
    )
    update flux.run_feeds
    set last_seq = last_seq + (select count(*) from placed)
    where agency_id = (select flux.current_agency())
    returning last_seq as "lastSeq", (select count(*) from placed) as placed
  `);
  const { lastSeq = 0n, placed = 0n } = numbered.rows[0] ?? {};
  return { place: lastSeq, more: placed === BigInt(numberedAtOnce) };
}

/**
 * Runs whose newest change stands between two places, in the feed's order.
 *
 * @param filter its conditions on the state are left to the caller: a run that leaves a state is news as well
 * @param limit 1 to 201
 */
export async function listRunChanges(
  db: Queryable,
  place: { filter: Omit<RunFilter, 'statuses'>; afterSeq: bigint; upToSeq: bigint; limit: number },
): Promise<(Run & { feedSeq: bigint })[]> {
  const { filter, afterSeq, upToSeq, limit } = place;
  const conditions = [...runConditions(filter), sql`feed_seq > ${afterSeq}`, sql`feed_seq <= ${upToSeq}`];
  return readRuns<{ feedSeq: bigint }>(
    db,
    sql`feed_seq as "feedSeq"`,
    sql`where ${join(conditions, ' and ')} order by feed_seq limit ${limit}`,
  );
}
