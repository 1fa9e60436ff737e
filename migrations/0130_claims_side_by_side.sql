-- Every claim waited for every other one: the decision, its charge and its commit stood under one lock, so that two cores claimed no
-- more partitions a second than one. The lock is needed where a claim must see what the others take: to take stock of who waits, and
-- below an agency's cap. All others choose by what they see and go past what others hold: who is chosen by several at once is charged
-- for each, so that the shares hold, and a turn is at most early by the claims under way.

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
  now_at timestamptz := clock_timestamp();
  alone boolean := false;
  stocked boolean := false;
  waits text[];
  logins name[];
  capped boolean[];
  settled boolean;
  next record;
  picked boolean := false;
begin
  perform set_config('synchronous_commit', 'off', true);
  <<decision>>
  loop
    select coalesce(array_agg(w.agency_id), '{}'), array_agg(w.role_name), array_agg(w.capped),
      coalesce(bool_and(w.waiting is true), true) and (select count(*) from flux.agency_turns k where k.waiting) = count(*)
    into waits, logins, capped, settled
    from (
      select a.agency_id, l.role_name, t.waiting, a.executing_cap is not null as capped
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
    if not settled and not stocked then
      if alone then
        perform flux.take_stock(p_quantum);
        stocked := true;
      else
        perform pg_advisory_xact_lock(1718353936);
        alone := true;
        now_at := clock_timestamp();
      end if;
      continue decision;
    end if;
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
    exit decision when picked;
    for turn in 1..cardinality(waits) loop
      if capped[turn] and not alone then
        perform pg_advisory_xact_lock(1718353936);
        alone := true;
        now_at := clock_timestamp();
        continue decision;
      end if;
      select p.agency_id, p.run_id, p.partition_no, logins[turn] as role_name, false as taken_over into next
      from flux.run_partitions p
      where p.agency_id = waits[turn] and p.status = 'AVAILABLE' and p.available_at <= now_at
      order by p.priority desc, p.run_id, p.partition_no
      limit 1
      for update skip locked;
      picked := found;
      exit decision when picked;
    end loop;
    return;
  end loop;
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
  returning p.agency_id, p.run_id, p.partition_no, p.kind, p.stage, p.epoch, p.takings, next.taken_over, next.role_name::name
  into agency_id, run_id, partition_no, kind, stage, epoch, takings, taken_over, rw_role;
  -- charge_turn() of one batch, and whose turn it was: last, since every other claim for this agency waits for it until the commit.
  insert into flux.agency_turns as t (agency_id, served, turned_at)
  select a.agency_id, 1::double precision / a.share_weight, now_at from flux.agencies a where a.agency_id = next.agency_id
  on conflict (agency_id) do update set served = t.served + excluded.served, turned_at = excluded.turned_at;
  return next;
end
$function$;

set local role flux_owner;
revoke create on schema flux from flux_definer;
