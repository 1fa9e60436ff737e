-- What: the numbers that operators watch and scale by, over all agencies.
-- Why definer: the API and the autoscaler may not read a tenant's table; this says exactly what crosses: counts and ages.
-- Locks: new objects only.

grant create on schema flux to flux_definer;
set local role flux_definer;

-- A run that is not over always has an open partition. Those being worked count for the autoscaler as well as those that
-- wait, or it would take the pods of long partitions away.
create function flux.operation_counts() returns table (
  queue_depth bigint, queue_age_seconds double precision, executing bigint, active_runs bigint,
  audit_seal_lag_seconds double precision
)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select
    count(*) filter (where p.status = 'AVAILABLE' and p.available_at <= clock_timestamp()),
    coalesce(extract(epoch from clock_timestamp() - min(p.available_at)
      filter (where p.status = 'AVAILABLE' and p.available_at <= clock_timestamp())), 0)::double precision,
    count(*) filter (where p.status = 'EXECUTING'),
    count(distinct (p.agency_id, p.run_id)),
    coalesce((select extract(epoch from clock_timestamp() - min(i.at)) from flux.audit_inbox i), 0)::double precision
  from flux.run_partitions p
  where p.status in ('AVAILABLE', 'EXECUTING')
$$;
comment on function flux.operation_counts() is 'Waiting and executing partitions, active runs, the age in seconds of the oldest waiting partition and unsealed audit entry.';
grant execute on function flux.operation_counts() to flux_api, flux_worker;

set local role flux_owner;
revoke create on schema flux from flux_definer;
