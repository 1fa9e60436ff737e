-- What: whether the audit log is being sealed, for readiness.
-- Why definer: no login reads the sealer's lease or the inbox; this says whether one leads and how long entries wait, nothing of an agency.
-- Locks: a new object only.

grant create on schema flux to flux_definer;
set local role flux_definer;

create function flux.sealer_state() returns table (leads boolean, silent_seconds double precision, waiting_seconds double precision)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select
    s.lease_expires_at >= clock_timestamp(),
    case when s.lease_expires_at = '-infinity' then null
      else greatest(extract(epoch from clock_timestamp() - s.lease_expires_at), 0)::double precision end,
    coalesce((select extract(epoch from clock_timestamp() - min(i.at)) from flux.audit_inbox i), 0)::double precision
  from flux.audit_sealer s
$$;
comment on function flux.sealer_state() is
  'Whether a sealer leads, the seconds since the last lease ended (null: there never was one), the age in seconds of the oldest unsealed entry.';
grant execute on function flux.sealer_state() to flux_api, flux_worker, flux_sealer;

set local role flux_owner;
revoke create on schema flux from flux_definer;
