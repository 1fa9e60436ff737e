import { sql } from '../../src/db/sql.ts';
import type { Campaign } from './campaign.ts';
import type { JournalLine } from './failpoints.ts';

/** What a campaign came to, in numbers. */
export interface Report {
  faults: number;
  kinds: number;
  runs: number;
  events: number;
  batches: number;
  takeovers: { count: number; p50: number; max: number; slowest: string };
  /** Mean seconds from a fault to the next batch, or the end, of a partition that its worker lost by it. */
  recovery: { count: number; mean: number };
  saves: { attempted: number; succeeded: number };
  checkpoints: { acknowledged: number; verified: number };
  reconnects: number;
}

export async function reportOn(campaign: Campaign): Promise<Report> {
  const { arena, herd, faults, subscribers } = campaign;
  const [totals] = await arena.ask<{ runs: number; events: number; batches: number }>(sql`
    select (select count(*) from flux.runs)::int as runs, count(*)::int as events,
      count(*) filter (where name = 'BatchCommitted')::int as batches
    from flux.run_events
  `);
  const named = [...faults].filter(([name]) => !name.startsWith('('));
  const takeovers = await secondsAfterLosses(campaign, sql`e.partition_no = l.partition and e.data ? 'epoch'`);
  const recoveries = await secondsAfterLosses(
    campaign,
    sql`e.name in ('BatchCommitted', 'PlanMade', 'RunCompleted', 'CancelAcknowledged')`,
  );
  const sorted = takeovers.map(({ seconds }) => seconds).sort((a, b) => a - b);
  const slowest = takeovers.find(({ seconds }) => seconds === sorted.at(-1));
  const journal = await herd.journals();
  return {
    faults: named.reduce((sum, [, count]) => sum + count, 0),
    kinds: named.length,
    ...(totals as { runs: number; events: number; batches: number }),
    takeovers: {
      count: sorted.length,
      p50: sorted[Math.floor(sorted.length / 2)] ?? 0,
      max: sorted.at(-1) ?? 0,
      slowest: slowest?.fault ?? '',
    },
    recovery: {
      count: recoveries.length,
      mean: recoveries.reduce((sum, { seconds }) => sum + seconds, 0) / Math.max(1, recoveries.length),
    },
    saves: await savesOf(campaign, journal),
    checkpoints: await acknowledgedOf(campaign, journal),
    reconnects: subscribers.reconnects,
  };
}

/**
 * How long after each loss the first such event of a later epoch came. Who took the partition over and was lost in its turn
 * before it said a word had taken it over by then.
 */
async function secondsAfterLosses(
  { arena, herd }: Campaign,
  which: ReturnType<typeof sql>,
): Promise<{ fault: string; seconds: number }[]> {
  return arena.ask(sql`
    with lost as (
      select *
      from jsonb_to_recordset(${JSON.stringify(herd.losses)}::jsonb)
        as l (fault text, at float8, "runId" uuid, partition int, epoch int)
    ),
    later as (
      select l.*, extract(epoch from e.at)::float8 * 1000 as reached
      from lost l
      join flux.run_events e on e.run_id = l."runId" and extract(epoch from e.at) * 1000 > l.at and ${which}
        and (e.partition_no = l.partition or e.partition_no is null)
        and coalesce((e.data ->> 'epoch')::int, l.epoch + 1) > l.epoch
      union all
      select l.*, n.at
      from lost l
      join lost n on n."runId" = l."runId" and n.partition = l.partition and n.epoch > l.epoch and n.at > l.at
    )
    select fault, (min(reached) - at) / 1000 as seconds
    from later
    group by fault, at, "runId", partition, epoch
  `);
}

/** Batches that were tried of runs that completed, and how many of them are there: others were cancelled with their runs. */
async function savesOf({ arena }: Campaign, journal: JournalLine[]): Promise<Report['saves']> {
  const tried = journal.flatMap((line) => (line.kind === 'attempted' ? [line] : []));
  const [saves] = await arena.ask<{ attempted: number; succeeded: number }>(sql`
    select count(*)::int as attempted, count(c.version)::int as succeeded
    from (
      select distinct run, partition, version
      from jsonb_to_recordset(${JSON.stringify(tried)}::jsonb) as a (run uuid, partition int, version int)
    ) a
    join flux.runs r on r.run_id = a.run and r.status = 'COMPLETED'
    left join flux.checkpoints c on c.run_id = a.run and c.partition_no = a.partition and c.version = a.version
  `);
  return saves as Report['saves'];
}

/** Checkpoints that a worker was told are saved, and how many of them are there, and verify against bytes and history. */
async function acknowledgedOf({ arena }: Campaign, journal: JournalLine[]): Promise<Report['checkpoints']> {
  const told = journal.flatMap((line) => (line.kind === 'acknowledged' ? [line] : []));
  const [found] = await arena.ask<{ acknowledged: number; verified: number }>(sql`
    select count(*)::int as acknowledged,
      count(*) filter (where flux.checkpoint_intact(c) and c.hash = decode(a.hash, 'hex'))::int as verified
    from jsonb_to_recordset(${JSON.stringify(told)}::jsonb) as a (run uuid, partition int, version int, hash text)
    left join flux.checkpoints c on c.run_id = a.run and c.partition_no = a.partition and c.version = a.version
    where not exists (
      -- Damaged by the suite itself, noticed, and done again.
      select from flux.run_events e
      where e.run_id = a.run and e.partition_no = a.partition and e.name = 'CheckpointRejected'
        and (e.data ->> 'resumesFrom')::int < a.version)
  `);
  return found as Report['checkpoints'];
}

/** The report as a page's table. */
export function inWords(report: Report, faults: ReadonlyMap<string, number>): string {
  const { takeovers, recovery, saves, checkpoints } = report;
  const seconds = (value: number): string => `${value.toFixed(1)} s`;
  const rows: [string, string][] = [
    ['faults, kinds of faults', `${String(report.faults)}, ${String(report.kinds)}`],
    ['runs, events, batches', `${String(report.runs)}, ${String(report.events)}, ${String(report.batches)}`],
    [
      'takeovers: count, p50, slowest',
      `${String(takeovers.count)}, ${seconds(takeovers.p50)}, ${seconds(takeovers.max)} (${takeovers.slowest})`,
    ],
    ['mean time to recovery', `${seconds(recovery.mean)} of ${String(recovery.count)}`],
    [
      'checkpoints acknowledged under faults, of these load and verify',
      `${String(checkpoints.acknowledged)}, ${String(checkpoints.verified)}`,
    ],
    ['saves attempted, succeeded within their retries', `${String(saves.attempted)}, ${String(saves.succeeded)}`],
    ['connections of subscribers', String(report.reconnects)],
  ];
  const list = [...faults]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([name, count]) => `  ${String(count)} x ${name}`);
  return [...rows.map(([what, is]) => `| ${what} | ${is} |`), '', ...list].join('\n');
}
