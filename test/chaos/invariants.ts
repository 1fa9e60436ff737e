import type { Queryable } from '../../src/db/pool.ts';
import { type Sql, sql } from '../../src/db/sql.ts';

/** One row for each thing that does not hold; none when all holds. As a superuser: row-level security must hide nothing. */
export interface Violation {
  run: string;
  detail: string;
}

/**
 * What the auditor of a fault run knows from outside, in tables of its own: which records each run must end with
 * (`chaos.expected`), and what subscribers were given (`chaos.received`). Loads hold a column `value`.
 */
export async function createAuditTables(admin: Queryable): Promise<void> {
  await admin.query(sql`create schema if not exists chaos`);
  await admin.query(sql`
    create table if not exists chaos.expected (
      agency_id text collate "C" not null,
      run_id uuid not null,
      record_no bigint not null,
      value bigint,
      fate text not null check (fate in ('written', 'rejected')),
      primary key (run_id, record_no)
    )
  `);
  await admin.query(sql`
    create table if not exists chaos.received (
      subscriber text not null,
      position bigint not null,
      run_id uuid not null,
      seq bigint not null,
      primary key (subscriber, position)
    )
  `);
}

/** Every row of every load, whatever its table is called. */
const sink = sql`
  select l.agency_id, l.run_id, row.record_no, row.value
  from flux.loads l
  cross join lateral xmltable('/table/row' passing query_to_xml(
    format('select _flux_record, value from %I.%I', 'lake_' || replace(l.agency_id, '-', '_'), l.dataset || '__l' || l.load_no),
    true, false, '') columns record_no bigint path '_flux_record', value bigint path 'value') as row
`;

/** The batches that stand: committed, and not undone since by a rejected checkpoint. */
const standing = sql`
  select e.agency_id, e.run_id, e.partition_no, e.seq, (e.data ->> 'batch')::int as batch, (e.data ->> 'epoch')::int as epoch,
    (e.data ->> 'firstRecord')::bigint as first, (e.data ->> 'lastRecord')::bigint as last,
    (e.data ->> 'written')::bigint as written, (e.data ->> 'rejected')::bigint as rejected
  from flux.run_events e
  where e.name = 'BatchCommitted'
    and not exists (
      select from flux.run_events u
      where u.run_id = e.run_id and u.partition_no = e.partition_no and u.name = 'CheckpointRejected' and u.seq > e.seq
        and (u.data ->> 'resumesFrom')::int < (e.data ->> 'batch')::int)
`;

const audited = sql`
  select agency_id, convert_from(body, 'UTF8')::jsonb as entry from flux.audit_inbox
  union all
  select agency_id, convert_from(body, 'UTF8')::jsonb from flux.audit_entries
`;

export interface Invariant {
  name: string;
  says: string;
  query: Sql;
}

/** I1 to I10 of the durable engine, one query each. */
export const invariants: readonly Invariant[] = [
  {
    name: 'I1',
    says: 'each record of a source ends exactly once, in the destination or in quarantine',
    query: sql`
      with ended as (
        select run_id, record_no, value, 'written' as fate from (${sink}) s
        union all
        select run_id, record_no, null, 'rejected' from flux.rejected_records
      ),
      counted as (select run_id, record_no, value, fate, count(*) as times from ended group by 1, 2, 3, 4)
      select coalesce(x.run_id, c.run_id)::text as run,
        format('record %s, %s: %s times, expected %s', coalesce(x.record_no, c.record_no), coalesce(x.fate, c.fate),
          coalesce(c.times, 0), count(x.run_id) over (partition by x.run_id, x.record_no)) as detail
      from chaos.expected x
      full join counted c on c.run_id = x.run_id and c.record_no = x.record_no and c.fate = x.fate
        and c.value is not distinct from x.value
      left join flux.runs r on r.run_id = coalesce(x.run_id, c.run_id)
      where c.times > 1 or x.run_id is null or (c.run_id is null and r.status = 'COMPLETED')
    `,
  },
  {
    name: 'I2',
    says: 'a run’s events are numbered from 1 without a gap, their times never go back, each attempt has one ending, its last',
    query: sql`
      with numbered as (
        select e.*, row_number() over w as place, lag(e.at) over w as before, lead(e.attempt) over w as next_attempt,
          e.name in ('RunCompleted', 'RunFailed', 'RunCancelled') as ends, r.status, r.last_seq
        from flux.run_events e join flux.runs r using (agency_id, run_id)
        window w as (partition by e.run_id order by e.seq)
      )
      select run_id::text as run, format('event %s (%s) at place %s of %s', seq, name, place, last_seq) as detail
      from numbered
      where seq <> place
        or at < before
        or (next_attempt is null and seq <> last_seq)
        or ends <> case when next_attempt is null then status in ('COMPLETED', 'FAILED', 'CANCELLED') else next_attempt <> attempt end
    `,
  },
  {
    name: 'I3',
    says: 'rows done, positions and epochs of a partition never go back in commit order',
    query: sql`
      with walked as (
        select e.run_id, e.partition_no, e.seq, e.name, (e.data ->> 'batch')::int as batch, (e.data ->> 'epoch')::int as epoch,
          lag(e.name) over w as before,
          lag(coalesce((e.data ->> 'batch')::int, (e.data ->> 'resumesFrom')::int)) over w as reached,
          max((e.data ->> 'epoch')::int) over (w rows between unbounded preceding and 1 preceding) as epoch_before
        from flux.run_events e
        where e.name in ('BatchCommitted', 'CheckpointRejected')
        window w as (partition by e.run_id, e.partition_no order by e.seq)
      )
      select run_id::text as run, format('partition %s, event %s: batch %s after %s, epoch %s after %s', partition_no, seq, batch,
        coalesce(reached, 0), epoch, epoch_before) as detail
      from walked
      where name = 'BatchCommitted' and (batch <> coalesce(reached, 0) + 1 or epoch < epoch_before)
    `,
  },
  {
    name: 'I4',
    says: 'at most one epoch of a partition lives, and nothing of an epoch commits after something of a later one',
    query: sql`
      with told as (
        select e.run_id, e.partition_no, e.seq, e.name, (e.data ->> 'epoch')::int as epoch,
          max((e.data ->> 'epoch')::int) over (
            partition by e.run_id, e.partition_no order by e.seq rows between unbounded preceding and 1 preceding) as newest
        from flux.run_events e
        where e.partition_no is not null and e.data ? 'epoch'
      )
      select run_id::text as run, format('partition %s, event %s (%s): epoch %s after %s', partition_no, seq, name, epoch, newest) as detail
      from told
      where epoch < newest or (epoch = newest and name in ('PartitionClaimed', 'PartitionTakenOver'))
      union all
      select c.run_id::text, format('partition %s: checkpoint %s of epoch %s, its batch of %s', c.partition_no, c.version, c.epoch, b.epoch)
      from flux.checkpoints c
      join (${standing}) b on b.run_id = c.run_id and b.partition_no = c.partition_no and b.batch = c.version
      where b.epoch <> c.epoch
    `,
  },
  {
    name: 'I5',
    says: 'a checkpoint stands exactly when its batch’s rows, event and audit entry do',
    query: sql`
      with batches as materialized (${standing}),
      rows as materialized (${sink}),
      entries as materialized (
        select (entry -> 'after' ->> 'checkpointHash') as hash from (${audited}) a where entry ->> 'action' = 'batch.commit'
      )
      select coalesce(b.run_id, c.run_id)::text as run,
        format('partition %s, batch %s: event %s, checkpoint %s, audited %s', coalesce(b.partition_no, c.partition_no),
          coalesce(b.batch, c.version), b.run_id is not null, c.run_id is not null, e.hash is not null) as detail
      from batches b
      full join flux.checkpoints c on c.run_id = b.run_id and c.partition_no = b.partition_no and c.version = b.batch
      left join entries e on e.hash = encode(c.hash, 'hex')
      where b.run_id is null or c.run_id is null or e.hash is null
      union all
      select b.run_id::text, format('partition %s, batch %s: %s rows and %s rejected records, told are %s and %s', b.partition_no,
        b.batch, found.written, found.rejected, b.written, b.rejected)
      from batches b
      cross join lateral (
        select
          (select count(*) from rows s where s.run_id = b.run_id and s.record_no between b.first and b.last) as written,
          (select count(*) from flux.rejected_records q where q.run_id = b.run_id and q.record_no between b.first and b.last) as rejected
      ) found
      where found.written <> b.written or found.rejected <> b.rejected
      union all
      select s.run_id::text, format('record %s belongs to no batch', s.record_no)
      from rows s
      where not exists (
        select from batches b where b.run_id = s.run_id and s.record_no between b.first and b.last)
    `,
  },
  {
    name: 'I6',
    says: 'every checkpoint’s bytes have its SHA-256, its place and its chain, and the source is the one that was pinned',
    query: sql`
      select c.run_id::text as run, format('partition %s, checkpoint %s does not verify', c.partition_no, c.version) as detail
      from flux.checkpoints c
      left join flux.checkpoints p on p.run_id = c.run_id and p.partition_no = c.partition_no and p.version = c.version - 1
      where not flux.checkpoint_intact(c) or (c.version > 1 and p.hash is distinct from c.previous_hash)
      union all
      select e.run_id::text, format('the plan pinned %s, the object is %s', e.data ->> 'sha256', encode(o.sha256, 'hex'))
      from flux.run_events e
      left join flux.source_objects o on o.run_id = e.run_id
      where e.name = 'PlanMade' and e.data ->> 'sha256' is distinct from encode(o.sha256, 'hex')
    `,
  },
  {
    name: 'I7',
    says: 'with the faults stopped every run is over, and none of its partitions is left open',
    query: sql`
      select r.run_id::text as run, format('run %s, partition %s %s', r.status, p.partition_no, p.status) as detail
      from flux.runs r
      left join flux.run_partitions p on p.run_id = r.run_id and p.status in ('AVAILABLE', 'EXECUTING')
      where r.status not in ('COMPLETED', 'FAILED', 'CANCELLED') or p.run_id is not null
    `,
  },
  {
    name: 'I8',
    says: 'nothing of one agency is ever visible in another',
    query: sql`
      select s.run_id::text as run, format('record %s of %s lies in the lake of %s', s.record_no, x.agency_id, s.agency_id) as detail
      from (${sink}) s
      left join chaos.expected x on x.value = s.value and x.fate = 'written'
      group by s.run_id, s.record_no, x.agency_id, s.agency_id
      having x.agency_id is distinct from s.agency_id
      union all
      select c.run_id::text, format('a checkpoint of %s does not name it', c.agency_id)
      from flux.checkpoints c
      where position(convert_to(format('"agency":"%s"', c.agency_id), 'UTF8') in c.body) = 0
      union all
      select entry ->> 'resourceId', format('audit entry of %s about a run of %s', a.agency_id, r.agency_id)
      from (${audited}) a
      join flux.runs r on r.run_id::text = a.entry ->> 'resourceId' and a.entry ->> 'resourceType' = 'run'
      where r.agency_id <> a.agency_id or a.entry ->> 'agencyId' is distinct from a.agency_id
    `,
  },
  {
    name: 'I9',
    says: 'after a cancel was asked for no batch commits, until a resume',
    query: sql`
      select b.run_id::text as run, format('event %s: a batch of partition %s after the cancel', b.seq, b.partition_no) as detail
      from flux.run_events b
      join flux.run_events c on c.run_id = b.run_id and c.name = 'CancelRequested' and c.seq < b.seq and c.attempt = b.attempt
      where b.name = 'BatchCommitted'
    `,
  },
  {
    name: 'I10',
    says: 'what a subscriber was given over all its connections is the table: no gap, nothing twice, in order',
    query: sql`
      with given as (
        select r.*, row_number() over (partition by r.subscriber order by r.position) as place,
          count(*) over (partition by r.subscriber) as total
        from chaos.received r
      )
      select g.run_id::text as run, format('%s was given event %s as number %s of %s', g.subscriber, g.seq, g.place, r.last_seq) as detail
      from given g join flux.runs r on r.run_id = g.run_id
      where g.seq <> g.place or g.total <> r.last_seq
    `,
  },
];

/** Asks every invariant. @returns what does not hold, by invariant */
export async function audit(admin: Queryable): Promise<Map<string, Violation[]>> {
  const broken = new Map<string, Violation[]>();
  for (const { name, query } of invariants) {
    const { rows } = await admin.query<Violation & Record<string, unknown>>(query);
    if (rows.length > 0) broken.set(name, rows);
  }
  return broken;
}
