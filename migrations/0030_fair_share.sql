-- What: weighted deficit round robin between agencies with caps, workers that are known to be there, and why a run waits.
-- Why: the agency with the fewest partitions at work came first, whatever its partitions cost; there were no weights and no
-- caps; and nobody could tell a run that waits its turn from one that waits for a worker.
-- Locks: ACCESS EXCLUSIVE on agencies (a column with a default, no rewrite); SHARE on run_partitions while its index is built
-- anew: a few seconds for a million waiting partitions. Old code: its claim works on (the quantum has a default); its
-- heartbeat is gone, so old workers lose their leases and must be stopped before this file.

alter table flux.agencies
  add column share_weight smallint not null default 1 check (share_weight between 1 and 100),
  add column executing_cap int check (executing_cap between 1 and 10000);
comment on column flux.agencies.share_weight is 'How many quanta the agency gets for one of an agency of weight 1, while both wait.';
comment on column flux.agencies.executing_cap is 'Most partitions of the agency that are worked at once; null is without cap.';

-- Within an agency: priority, then the age of the run, so that a run that was begun is finished before the next begins.
-- The runs' ids are time-ordered. Ten thousand waiting partitions cost a claim what one costs.
drop index flux.run_partitions_available;
create index run_partitions_available on flux.run_partitions (agency_id, priority desc, run_id, partition_no)
  include (available_at) where status = 'AVAILABLE';
-- A queue's rows die young, and a claim reads past the dead ones until they are vacuumed.
alter table flux.run_partitions set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

create table flux.agency_turns (
  agency_id text collate "C" primary key references flux.agencies (agency_id),
  served double precision not null default 0,
  waiting boolean not null default false,
  turned_at timestamptz
);
comment on table flux.agency_turns is 'The round robin''s accounts: batches served, divided by weight. The agency that is furthest behind comes next.';
comment on column flux.agency_turns.served is 'Each claim costs one batch at once, and the batches beyond the first when they are known.';
comment on column flux.agency_turns.waiting is 'Whether it waited at the last decision. Who did not has no claim on what it did not use: flux.take_stock.';

create table flux.workers (
  worker_id text primary key,
  state text not null check (state in ('WORKING', 'DRAINING')),
  seen_at timestamptz not null default clock_timestamp()
);
comment on table flux.workers is 'Workers that are there; each says so every two seconds. Says why runs wait, decides nothing.';

alter table flux.agency_turns enable row level security;
alter table flux.agency_turns force row level security;
create policy definer_takes_turns on flux.agency_turns to flux_definer using (true) with check (true);
grant select, insert, update on flux.agency_turns to flux_definer;
grant select, insert, update, delete on flux.workers to flux_definer;

drop function flux.claim_partition(text, int);
drop function flux.heartbeat(text, uuid, int, int, int);

grant create on schema flux to flux_definer;
set local role flux_definer;

-- The lateral limit is a fence: a semi-join could read ten thousand partitions of one agency to learn that it has some.
create function flux.waiting_agencies()
returns table (agency_id text, role_name name)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select a.agency_id, l.role_name
  from flux.agencies a
  join flux.agency_logins l on l.agency_id = a.agency_id and l.access = 'rw'
  cross join lateral (
    select from flux.run_partitions p
    where p.agency_id = a.agency_id and p.status = 'AVAILABLE' and p.available_at <= clock_timestamp()
    order by p.priority desc, p.run_id, p.partition_no
    limit 1
  ) something
  where a.enabled
    and (a.executing_cap is null or a.executing_cap > (
      select count(*) from flux.run_partitions e where e.agency_id = a.agency_id and e.status = 'EXECUTING'))
$$;
comment on function flux.waiting_agencies() is 'Agencies with a partition that may be claimed now, and below their cap.';

-- Brings the accounts to the moment of a decision. An agency that has just begun to wait is raised to the one that is furthest
-- behind of those that waited before, so that nobody saves up turns while away, and so that a newcomer, who has waited longest
-- since its last turn, comes next. Who has something at work may be one quantum behind: giving its turn up is not being away.
-- Writes only when an agency begins or ceases to wait.
create function flux.take_stock(p_quantum int) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  now_waiting text[];
  round double precision;
begin
  select coalesce(array_agg(w.agency_id), '{}') into now_waiting from flux.waiting_agencies() w;
  update flux.agency_turns t set waiting = false where t.waiting and t.agency_id <> all (now_waiting);
  if not exists (
      select from unnest(now_waiting) n left join flux.agency_turns t on t.agency_id = n where t.waiting is not true) then
    return;
  end if;
  select min(t.served) into round from flux.agency_turns t where t.waiting;
  if round is null then
    select max(t.served) into round
    from flux.agency_turns t
    where t.agency_id in (select p.agency_id from flux.run_partitions p where p.status = 'EXECUTING');
  end if;
  if round is null then
    select max(t.served) into round from flux.agency_turns t;
  end if;
  insert into flux.agency_turns as t (agency_id, served, waiting)
  select n, coalesce(round, 0), true
  from unnest(now_waiting) n
  where not exists (select from flux.agency_turns k where k.agency_id = n and k.waiting)
  on conflict (agency_id) do update
  set waiting = true,
      served = greatest(t.served, excluded.served - case when exists (
        select from flux.run_partitions p where p.agency_id = t.agency_id and p.status = 'EXECUTING') then p_quantum else 0 end);
end
$$;
comment on function flux.take_stock(int) is 'Raises the accounts of agencies that have just begun to wait, before each decision.';

create function flux.charge_turn(p_agency text, p_batches int) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  insert into flux.agency_turns as t (agency_id, served)
  select a.agency_id, p_batches::double precision / a.share_weight from flux.agencies a where a.agency_id = p_agency
  on conflict (agency_id) do update set served = t.served + excluded.served;
end
$$;
comment on function flux.charge_turn(text, int) is 'Charges an agency batches, divided by its weight.';

-- One decision at a time (the advisory lock), so that weights and caps hold exactly however many workers ask at once; it takes
-- well below a millisecond, and no flush of the log: a claim that a crash of the server undoes has bound nobody, because
-- whatever its holder committed later is behind it in the log, and because a fence names the holder beside the epoch.
--
-- An abandoned partition first: its run has waited for a whole lease already, and `takings` bounds how often one comes back.
-- One whose late holder still has a transaction open is locked `for key share` and skipped until that backend is gone.
-- Then the agency whose turn it is.
create function flux.claim_partition(p_worker text, p_lease_ms int, p_quantum int default 10)
returns table (
  agency_id text, run_id uuid, partition_no int, kind text, stage text, epoch int, takings int, taken_over boolean,
  rw_role name
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  next record;
  turn record;
begin
  perform set_config('synchronous_commit', 'off', true);
  perform pg_advisory_xact_lock(1718353936);
  perform flux.take_stock(p_quantum);
  select p.agency_id, p.run_id, p.partition_no, p.status, l.role_name into next
  from flux.run_partitions p
  join flux.agencies a on a.agency_id = p.agency_id and a.enabled
  -- Joined here and not in the update: an agency without its login would otherwise be picked first, again and again.
  join flux.agency_logins l on l.agency_id = p.agency_id and l.access = 'rw'
  where p.status = 'EXECUTING' and p.lease_expires_at < clock_timestamp()
  order by p.priority desc, p.lease_expires_at
  limit 1
  for update of p skip locked;
  if not found then
    for turn in
      select w.* from flux.waiting_agencies() w join flux.agency_turns t on t.agency_id = w.agency_id
      order by t.served, t.turned_at nulls first, w.agency_id
    loop
      select p.agency_id, p.run_id, p.partition_no, p.status, turn.role_name into next
      from flux.run_partitions p
      where p.agency_id = turn.agency_id and p.status = 'AVAILABLE' and p.available_at <= clock_timestamp()
      order by p.priority desc, p.run_id, p.partition_no
      limit 1
      for update skip locked;
      exit when found;
    end loop;
  end if;
  if next.agency_id is null then
    return;
  end if;
  perform flux.charge_turn(next.agency_id, 1);
  update flux.agency_turns t set turned_at = clock_timestamp() where t.agency_id = next.agency_id;
  return query
    update flux.run_partitions p
    set status = 'EXECUTING',
        epoch = p.epoch + 1,
        takings = p.takings + 1,
        leased_by = p_worker,
        lease_expires_at = clock_timestamp() + p_lease_ms * interval '1 millisecond',
        holder_pid = null,
        started_at = coalesce(p.started_at, clock_timestamp()),
        updated_at = clock_timestamp()
    where p.agency_id = next.agency_id and p.run_id = next.run_id and p.partition_no = next.partition_no
    returning p.agency_id, p.run_id, p.partition_no, p.kind, p.stage, p.epoch, p.takings, next.status = 'EXECUTING',
      next.role_name::name;
end
$$;
comment on function flux.claim_partition(text, int, int) is
  'Takes one abandoned or free partition, by weighted deficit round robin between agencies: epoch + 1, lease from the database clock. No row when there is no work.';

-- The queue decides anew without a release when its answer would be the same partition again: nothing is abandoned, no other
-- agency is at or behind our account, nothing of our own comes before it. That saves a run that is alone the reopening of its
-- source after every quantum.
create function flux.keep_turn(
  p_agency text, p_run_id uuid, p_partition_no int, p_epoch int, p_worker text, p_quantum int, p_batches int
) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  mine flux.run_partitions;
begin
  perform set_config('synchronous_commit', 'off', true);
  perform pg_advisory_xact_lock(1718353936);
  perform flux.take_stock(p_quantum);
  perform flux.charge_turn(p_agency, p_batches);
  select p.* into mine
  from flux.run_partitions p
  join flux.agencies a on a.agency_id = p.agency_id and a.enabled
    and (a.executing_cap is null or a.executing_cap >= (
      select count(*) from flux.run_partitions e where e.agency_id = p_agency and e.status = 'EXECUTING'))
  where p.agency_id = p_agency and p.run_id = p_run_id and p.partition_no = p_partition_no
    and p.epoch = p_epoch and p.leased_by = p_worker and p.status = 'EXECUTING';
  return mine.agency_id is not null
    and not exists (
      select from flux.run_partitions p
      join flux.agencies a on a.agency_id = p.agency_id and a.enabled
      where p.status = 'EXECUTING' and p.lease_expires_at < clock_timestamp())
    and not exists (
      select from flux.agency_turns other
      where other.waiting and other.agency_id <> p_agency
        and other.served <= (select t.served from flux.agency_turns t where t.agency_id = p_agency))
    and not exists (
      select from flux.run_partitions p
      where p.agency_id = p_agency and p.status = 'AVAILABLE' and p.available_at <= clock_timestamp()
        and (p.priority > mine.priority
          or (p.priority = mine.priority and (p.run_id, p.partition_no) < (mine.run_id, mine.partition_no))));
end
$$;
comment on function flux.keep_turn(text, uuid, int, int, text, int, int) is
  'At the end of a quantum: charges its batches; true when the queue would give the holder the same partition again, false when it must be given back.';

create function flux.heartbeat(
  p_agency text, p_run_id uuid, p_partition_no int, p_epoch int, p_worker text, p_lease_ms int
) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform set_config('synchronous_commit', 'off', true); -- a beat that a crash undoes ends the lease earlier, never later
  update flux.run_partitions p
  set lease_expires_at = clock_timestamp() + p_lease_ms * interval '1 millisecond',
      updated_at = clock_timestamp()
  where p.agency_id = p_agency and p.run_id = p_run_id and p.partition_no = p_partition_no
    and p.epoch = p_epoch and p.leased_by = p_worker and p.status = 'EXECUTING'
    and p.lease_expires_at > clock_timestamp();
  return found;
end
$$;
comment on function flux.heartbeat(text, uuid, int, int, text, int) is
  'Extends a lease that is still ours; false when it is lost, which is final.';

create function flux.report_worker(p_worker text, p_state text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  delete from flux.workers w
  where w.worker_id in (
    select g.worker_id from flux.workers g
    where g.seen_at < clock_timestamp() - interval '1 minute' or (g.worker_id = p_worker and p_state is null)
    for update skip locked);
  if p_state is not null then
    insert into flux.workers (worker_id, state) values (p_worker, p_state)
    on conflict (worker_id) do update set state = excluded.state, seen_at = clock_timestamp();
  end if;
end
$$;
comment on function flux.report_worker(text, text) is 'Says that a worker is there (WORKING), is stopping (DRAINING), or has gone (null).';

-- What crosses to a tenant are counts: how many workers there are, and how many other agencies come first.
create function flux.queue_outlook()
returns table (workers int, draining int, executing int, cap int, agencies_first int)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select
    (select count(*) from flux.workers w
      where w.state = 'WORKING' and w.seen_at > clock_timestamp() - interval '10 seconds')::int,
    (select count(*) from flux.workers w
      where w.state = 'DRAINING' and w.seen_at > clock_timestamp() - interval '15 seconds')::int,
    (select count(*) from flux.run_partitions p where p.agency_id = a.agency_id and p.status = 'EXECUTING')::int,
    a.executing_cap,
    (select count(*) from flux.waiting_agencies() w
      left join flux.agency_turns other on other.agency_id = w.agency_id
      where w.agency_id <> a.agency_id
        and (coalesce(other.served, 0), coalesce(other.turned_at, '-infinity'), w.agency_id) < (
          coalesce(t.served, 0), coalesce(t.turned_at, '-infinity'), a.agency_id))::int
  from flux.agencies a
  left join flux.agency_turns t on t.agency_id = a.agency_id
  where a.agency_id = flux.current_agency()
$$;
comment on function flux.queue_outlook() is 'What the session''s agency may know of the whole queue: workers seen lately, its own executing partitions and cap, and how many other agencies come before it.';

grant execute on function flux.claim_partition(text, int, int), flux.keep_turn(text, uuid, int, int, text, int, int),
  flux.charge_turn(text, int), flux.heartbeat(text, uuid, int, int, text, int), flux.report_worker(text, text)
  to flux_worker;
grant execute on function flux.queue_outlook() to flux_api;

set local role flux_owner;
revoke create on schema flux from flux_definer;
