-- A claim is decided under one lock, so that its length is what all workers together can take. It prepared the search for abandoned
-- partitions with their agencies, logins and row locks also when there was none, and sorted the waiting agencies twice.

grant create on schema flux to flux_definer;
set local role flux_definer;

create or replace function flux.claim_partition(p_worker text, p_lease_ms integer, p_quantum integer DEFAULT 10)
 RETURNS TABLE(agency_id text, run_id uuid, partition_no integer, kind text, stage text, epoch integer, takings integer, taken_over boolean, rw_role name)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
declare
  now_at timestamptz;
  waits text[];
  logins name[];
  settled boolean;
  marked int;
  next record;
  picked boolean := false;
begin
  perform set_config('synchronous_commit', 'off', true), pg_advisory_xact_lock(1718353936);
  now_at := clock_timestamp();
  for attempt in 1..2 loop
    select coalesce(array_agg(w.agency_id), '{}'), coalesce(array_agg(w.role_name), '{}'),
      coalesce(bool_and(w.waiting is true), true), (select count(*) from flux.agency_turns k where k.waiting)
    into waits, logins, settled, marked
    from (
      select a.agency_id, l.role_name, t.waiting
      from flux.agencies a
      join flux.agency_logins l on l.agency_id = a.agency_id and l.access = 'rw'
      left join flux.agency_turns t on t.agency_id = a.agency_id
      cross join lateral (
        select from flux.run_partitions p
        where p.agency_id = a.agency_id and p.status = 'AVAILABLE' and p.available_at <= now_at
        order by p.priority desc, p.run_id, p.partition_no
        limit 1
      ) something
      where a.enabled
        and (a.executing_cap is null or a.executing_cap > (
          select count(*) from flux.run_partitions e where e.agency_id = a.agency_id and e.status = 'EXECUTING'))
      order by t.served, t.turned_at nulls first, a.agency_id
    ) w;
    exit when attempt = 2 or (settled and marked = cardinality(waits));
    perform flux.take_stock(p_quantum);
  end loop;
  -- Mostly there is none, and to see that takes a look at an index; what would be joined and locked is prepared for nothing.
  if exists (select from flux.run_partitions p where p.status = 'EXECUTING' and p.lease_expires_at < now_at) then
    select p.agency_id, p.run_id, p.partition_no, l.role_name, true as taken_over into next
    from flux.run_partitions p
    join flux.agencies a on a.agency_id = p.agency_id and a.enabled
    -- Joined here and not in the update: an agency without its login would otherwise be picked first, again and again.
    join flux.agency_logins l on l.agency_id = p.agency_id and l.access = 'rw'
    where p.status = 'EXECUTING' and p.lease_expires_at < now_at
    order by p.priority desc, p.lease_expires_at
    limit 1
    for update of p skip locked;
    picked := found;
  end if;
  if not picked then
    for turn in 1..cardinality(waits) loop
      select p.agency_id, p.run_id, p.partition_no, logins[turn] as role_name, false as taken_over into next
      from flux.run_partitions p
      where p.agency_id = waits[turn] and p.status = 'AVAILABLE' and p.available_at <= now_at
      order by p.priority desc, p.run_id, p.partition_no
      limit 1
      for update skip locked;
      picked := found;
      exit when picked;
    end loop;
  end if;
  if not picked then
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
$function$;

set local role flux_owner;
revoke create on schema flux from flux_definer;
