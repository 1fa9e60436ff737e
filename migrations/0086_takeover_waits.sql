-- What: takeover_waits(): whether an abandoned partition can be taken now.
-- Why: a worker looks for abandoned partitions between its own. Where every worker is at work, a lease that ran out waited for the end
--   of somebody's quantum: ten batches, however long they take. A worker at work asks this every second, and gives way after a batch.
-- Locks: none that lasts; a new function. Old code: works on, and never calls it.

grant create on schema flux to flux_definer;
set local role flux_definer;

-- Not by trying the row's lock: a claim that comes at the same moment would skip the row. A partition whose late holder still has its
-- session open cannot be taken yet, and nobody should give way for it. A loop, as in rescue_partitions(): the planner may
-- look at every session before it joins.
create function flux.takeover_waits() returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  late record;
begin
  for late in
    select p.holder_pid, l.role_name
    from flux.run_partitions p
    join flux.agencies a on a.agency_id = p.agency_id and a.enabled
    join flux.agency_logins l on l.agency_id = p.agency_id and l.access = 'rw'
    where p.status = 'EXECUTING' and p.lease_expires_at < clock_timestamp()
  loop
    if late.holder_pid is null or not exists (
        select from pg_stat_activity s
        where s.pid = late.holder_pid and s.usename = late.role_name and s.datname = current_database()) then
      return true;
    end if;
  end loop;
  return false;
end
$$;
comment on function flux.takeover_waits() is 'Whether a partition of an enabled agency is abandoned and its late holder''s session gone, so that a claim takes it.';
grant execute on function flux.takeover_waits() to flux_worker;

set local role flux_owner;
revoke create on schema flux from flux_definer;
