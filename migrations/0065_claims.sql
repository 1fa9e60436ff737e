-- What: claim_partition decides by one reading of who waits, finds abandoned partitions by an index, and keeps its account in one
-- statement; fill factors for rows that are updated all the time.
-- Why: a claim read twice who waits, and every leased partition to find those whose lease is over: clock_timestamp() is volatile,
-- so no index could be searched by it. With 500 at work that was a third of a claim, and claims come one after the other.
-- Locks: SHARE on run_partitions while its index is built (only what is at work: at once). Old code: works on.

drop index flux.run_partitions_leased;
create index run_partitions_leased on flux.run_partitions (lease_expires_at) where status = 'EXECUTING';
-- Caps and queue_outlook() count an agency's own.
create index run_partitions_executing on flux.run_partitions (agency_id) where status = 'EXECUTING';
alter table flux.agency_turns set (fillfactor = 25);
alter table flux.runs set (fillfactor = 85);
alter table flux.run_partitions set (fillfactor = 75);

grant create on schema flux to flux_definer;
set local role flux_definer;

-- As 0030 decides, from one reading: the agencies that wait, in the order of their turns. take_stock() reads anew only when one has
-- just begun or ceased to wait.
create or replace function flux.claim_partition(p_worker text, p_lease_ms int, p_quantum int default 10)
returns table (
  agency_id text, run_id uuid, partition_no int, kind text, stage text, epoch int, takings int, taken_over boolean,
  rw_role name
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  now_at timestamptz;
  waits text[];
  logins name[];
  settled boolean;
  marked int;
  next record;
begin
  perform set_config('synchronous_commit', 'off', true), pg_advisory_xact_lock(1718353936);
  now_at := clock_timestamp();
  for attempt in 1..2 loop
    select coalesce(array_agg(w.agency_id order by t.served, t.turned_at nulls first, w.agency_id), '{}'),
      coalesce(array_agg(w.role_name order by t.served, t.turned_at nulls first, w.agency_id), '{}'),
      coalesce(bool_and(t.waiting is true), true),
      (select count(*) from flux.agency_turns k where k.waiting)
    into waits, logins, settled, marked
    from (
      select a.agency_id, l.role_name
      from flux.agencies a
      join flux.agency_logins l on l.agency_id = a.agency_id and l.access = 'rw'
      cross join lateral (
        select from flux.run_partitions p
        where p.agency_id = a.agency_id and p.status = 'AVAILABLE' and p.available_at <= now_at
        order by p.priority desc, p.run_id, p.partition_no
        limit 1
      ) something
      where a.enabled
        and (a.executing_cap is null or a.executing_cap > (
          select count(*) from flux.run_partitions e where e.agency_id = a.agency_id and e.status = 'EXECUTING'))
    ) w
    left join flux.agency_turns t on t.agency_id = w.agency_id;
    exit when attempt = 2 or (settled and marked = cardinality(waits));
    perform flux.take_stock(p_quantum);
  end loop;
  select p.agency_id, p.run_id, p.partition_no, l.role_name, true as taken_over into next
  from flux.run_partitions p
  join flux.agencies a on a.agency_id = p.agency_id and a.enabled
  -- Joined here and not in the update: an agency without its login would otherwise be picked first, again and again.
  join flux.agency_logins l on l.agency_id = p.agency_id and l.access = 'rw'
  where p.status = 'EXECUTING' and p.lease_expires_at < now_at
  order by p.priority desc, p.lease_expires_at
  limit 1
  for update of p skip locked;
  if not found then
    for turn in 1..cardinality(waits) loop
      select p.agency_id, p.run_id, p.partition_no, logins[turn] as role_name, false as taken_over into next
      from flux.run_partitions p
      where p.agency_id = waits[turn] and p.status = 'AVAILABLE' and p.available_at <= now_at
      order by p.priority desc, p.run_id, p.partition_no
      limit 1
      for update skip locked;
      exit when found;
    end loop;
  end if;
  if next.agency_id is null then
    return;
  end if;
  -- charge_turn() of one batch, and whose turn it was.
  insert into flux.agency_turns as t (agency_id, served, turned_at)
  select a.agency_id, 1::double precision / a.share_weight, now_at from flux.agencies a where a.agency_id = next.agency_id
  on conflict (agency_id) do update set served = t.served + excluded.served, turned_at = excluded.turned_at;
  return query
    update flux.run_partitions p
    set status = 'EXECUTING',
        epoch = p.epoch + 1,
        takings = p.takings + 1,
        leased_by = p_worker,
        lease_expires_at = clock_timestamp() + p_lease_ms * interval '1 millisecond',
        holder_pid = null,
        started_at = coalesce(p.started_at, now_at),
        updated_at = now_at
    where p.agency_id = next.agency_id and p.run_id = next.run_id and p.partition_no = next.partition_no
    returning p.agency_id, p.run_id, p.partition_no, p.kind, p.stage, p.epoch, p.takings, next.taken_over,
      next.role_name::name;
end
$$;

set local role flux_owner;
revoke create on schema flux from flux_definer;
