-- What: retention: what an agency's history may lose, and the functions that take it away: finished runs with all that hangs on
--   them, the addresses of their objects, expired idempotency keys, sealed audit entries; a legal hold that stops it.
-- Why functions: a worker's session may delete no run and no entry. It may ask, and the function decides by the database's clock,
--   the agency's own retention, the platform's floor and the hold. It works for the session's own agency only.
-- Locks: short exclusive locks on agencies and loads; no table is rewritten. Old code: works on.

alter table flux.agencies
  add column legal_hold_since timestamptz,
  add column legal_hold_by text,
  add column legal_hold_reason text,
  add constraint legal_hold_whole check (
    (legal_hold_since is null) = (legal_hold_by is null) and (legal_hold_since is null) = (legal_hold_reason is null));
comment on column flux.agencies.legal_hold_since is 'Since when nothing of the agency expires; null when no hold is set.';
grant update (legal_hold_since, legal_hold_by, legal_hold_reason) on flux.agencies to flux_api;

-- What a dataset holds outlives the run that loaded it.
alter table flux.loads alter column run_id drop not null;
comment on column flux.loads.run_id is 'The run whose rows they are; null once retention has taken the run.';

create index runs_finished on flux.runs (agency_id, finished_at) where finished_at is not null;

create table flux.expired_objects (
  agency_id text collate "C" not null references flux.agencies (agency_id),
  address text not null,
  expired_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, address)
);
comment on table flux.expired_objects is 'Addresses that no run names any more, until a worker has removed the object.';
alter table flux.expired_objects enable row level security;
alter table flux.expired_objects force row level security;
create policy own_agency on flux.expired_objects
  using (agency_id = (select flux.current_agency()))
  with check (agency_id = (select flux.current_agency()));

grant select, update, delete on flux.runs to flux_definer;
grant select, update, delete on flux.loads to flux_definer;
grant select, delete on flux.run_partitions, flux.run_events, flux.step_counts, flux.checkpoints, flux.source_objects,
  flux.rejected_records, flux.idempotency_keys to flux_definer;
grant select, insert on flux.expired_objects to flux_definer;

grant create on schema flux to flux_definer;
set local role flux_definer;

-- The hold is set under the same lock (src/db/agency-holds.ts), so that what is held at a moment does not go after it.
create function flux.retention_cutoff() returns timestamptz
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  agency text := flux.current_agency();
begin
  if not pg_try_advisory_xact_lock(x'666c0010'::int, hashtext(agency)) then
    return null;
  end if;
  return (
    select clock_timestamp() - greatest(a.retention_days, a.retention_floor_days) * interval '1 day'
    from flux.agencies a
    where a.agency_id = agency and a.retention_days > 0 and a.legal_hold_since is null
  );
end
$$;
comment on function flux.retention_cutoff() is 'Before when the session''s agency keeps nothing; null when nothing expires: kept for ever, held, or somebody else is at it.';

create function flux.expire_runs(p_limit int)
returns table (
  runs bigint, events bigint, checkpoints bigint, rejected_records bigint, objects bigint, finished_before timestamptz,
  run_ids uuid[], open_loads jsonb
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  agency text := flux.current_agency();
  cutoff timestamptz := flux.retention_cutoff();
  expired uuid[];
  lineage record;
begin
  if cutoff is null then
    return;
  end if;
  select array_agg(r.run_id order by r.run_id) into expired from (
    select run_id from flux.runs
    where agency_id = agency and finished_at < cutoff
    order by finished_at
    limit p_limit
    for update skip locked
  ) r;
  if expired is null then
    return;
  end if;
  runs := cardinality(expired);
  run_ids := expired;
  finished_before := cutoff;
  -- Whatever came from one of them stays, and says no more from where.
  for lineage in
    select a.attname::text as name
    from pg_constraint k
    join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[2]
    where k.contype = 'f' and k.conrelid = 'flux.runs'::regclass and k.confrelid = 'flux.runs'::regclass
  loop
    execute format('update flux.runs set %s where agency_id = $1 and %I = any ($2)',
      case lineage.name when 'forked_from' then 'forked_from = null, forked_partition = null, forked_version = null'
        else format('%I = null', lineage.name) end, lineage.name)
      using agency, expired;
  end loop;
  delete from flux.rejected_records t where t.agency_id = agency and t.run_id = any (expired);
  get diagnostics rejected_records = row_count;
  delete from flux.checkpoints t where t.agency_id = agency and t.run_id = any (expired);
  get diagnostics checkpoints = row_count;
  delete from flux.step_counts t where t.agency_id = agency and t.run_id = any (expired);
  delete from flux.run_events t where t.agency_id = agency and t.run_id = any (expired);
  get diagnostics events = row_count;
  -- Rows that were never shown go with their run: the caller drops their tables in this transaction.
  with gone as (
    delete from flux.loads l where l.agency_id = agency and l.run_id = any (expired) and l.status = 'OPEN'
    returning l.dataset, l.load_no
  )
  select coalesce(jsonb_agg(jsonb_build_object('dataset', g.dataset, 'loadNo', g.load_no::text)), '[]') into open_loads
  from gone g;
  update flux.loads l set run_id = null where l.agency_id = agency and l.run_id = any (expired);
  with gone as (
    delete from flux.source_objects o where o.agency_id = agency and o.run_id = any (expired) returning o.address
  )
  insert into flux.expired_objects (agency_id, address)
  select distinct agency, g.address from gone g
  where not exists (
    select from flux.source_objects o
    where o.agency_id = agency and o.address = g.address and o.run_id <> all (expired))
  on conflict do nothing;
  get diagnostics objects = row_count;
  -- A later migration's table: parts of single stages stand in the object store too.
  if to_regclass('flux.run_parts') is not null then
    execute 'with gone as (delete from flux.run_parts p where p.agency_id = $1 and p.run_id = any ($2) returning p.address)
      insert into flux.expired_objects (agency_id, address)
      select distinct $1, g.address from gone g
      where not exists (
        select from flux.run_parts p where p.agency_id = $1 and p.address = g.address and p.run_id <> all ($2))
      on conflict do nothing'
      using agency, expired;
  end if;
  delete from flux.run_partitions t where t.agency_id = agency and t.run_id = any (expired);
  delete from flux.runs t where t.agency_id = agency and t.run_id = any (expired);
  return next;
end
$$;
comment on function flux.expire_runs(int) is 'Takes away up to p_limit runs of the session''s agency that ended before its retention, with all that hangs on them; no row when there are none.';

create function flux.expire_idempotency_keys(p_limit int) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  agency text := flux.current_agency();
  removed bigint;
begin
  delete from flux.idempotency_keys k
  where k.agency_id = agency and (k.operation, k.key) in (
    select e.operation, e.key from flux.idempotency_keys e
    where e.agency_id = agency and e.expires_at < clock_timestamp()
    limit p_limit);
  get diagnostics removed = row_count;
  return removed;
end
$$;
comment on function flux.expire_idempotency_keys(int) is 'Removes up to p_limit keys of the session''s agency whose seven days are over; returns how many.';

-- As in 0006, but not under a legal hold.
create or replace function flux.prune_audit(p_agency text, p_through bigint) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  id uuid := flux.uuid_v7();
  now timestamptz := clock_timestamp();
  removed bigint;
begin
  if exists (select from flux.agencies a where a.agency_id = p_agency and a.legal_hold_since is not null) then
    raise exception 'a legal hold keeps the entries of %', p_agency using errcode = '42501';
  end if;
  if p_through > (select max(size) from flux.audit_checkpoints where agency_id = p_agency) then
    raise exception 'entries after the newest checkpoint of % cannot be pruned', p_agency using errcode = '22023';
  end if;
  update flux.audit_heads set pruned_through = p_through where agency_id = p_agency and pruned_through < p_through;
  if not found then
    return 0;
  end if;
  delete from flux.audit_entries where agency_id = p_agency and seq <= p_through;
  get diagnostics removed = row_count;
  insert into flux.audit_inbox (agency_id, entry_id, at, body)
  values (p_agency, id, now, convert_to(
    '{"action":"audit.prune","actor":"retention","after":{"prunedThrough":"' || p_through || '"},"agencyId":"' || p_agency
    || '","at":"' || to_char(now at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    || '","before":null,"entryId":"' || id || '","errorCode":null,"ip":null,"reason":null,"requestId":null,"resourceId":"'
    || p_agency || '","resourceType":"audit","role":"platform","success":true,"traceId":null,"userAgent":null}', 'UTF8'));
  return removed;
end
$$;

create function flux.expire_audit(p_limit int) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  agency text := flux.current_agency();
  cutoff timestamptz := flux.retention_cutoff();
  signed bigint;
  through bigint;
begin
  if cutoff is null then
    return 0;
  end if;
  select max(size) into signed from flux.audit_checkpoints where agency_id = agency;
  -- From the beginning on, up to the first that is kept: what is left must be one piece.
  select coalesce(min(e.seq) filter (where e.at >= cutoff) - 1, max(e.seq)) into through
  from (
    select a.seq, a.at from flux.audit_entries a
    join flux.audit_heads h on h.agency_id = a.agency_id
    where a.agency_id = agency and a.seq > h.pruned_through and a.seq <= signed
    order by a.seq
    limit p_limit
  ) e;
  return case when through is null then 0 else flux.prune_audit(agency, through) end;
end
$$;
comment on function flux.expire_audit(int) is 'Prunes up to p_limit sealed and signed entries of the session''s agency that are older than its retention; returns how many.';

create function flux.retained_agencies() returns table (agency_id text, rw_role name)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select a.agency_id, l.role_name
  from flux.agencies a
  join flux.agency_logins l on l.agency_id = a.agency_id and l.access = 'rw'
  order by a.agency_id
$$;
comment on function flux.retained_agencies() is 'Every open agency with its login, under which retention works.';
grant execute on function flux.retained_agencies() to flux_worker;

grant execute on function flux.retention_cutoff(), flux.expire_runs(int), flux.expire_idempotency_keys(int),
  flux.expire_audit(int) to flux_owner with grant option;

set local role flux_owner;
revoke create on schema flux from flux_definer;

create function flux.grant_agency_retention(p_rw name) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('grant execute on function flux.expire_runs(int), flux.expire_idempotency_keys(int), flux.expire_audit(int)
    to %I', p_rw);
  execute format('grant select, delete on flux.expired_objects to %I', p_rw);
  if to_regclass('flux.run_parts') is not null then
    grant select, delete on flux.run_parts to flux_definer;
  end if;
end
$$;
comment on function flux.grant_agency_retention(name) is 'Grants an agency''s worker login what retention needs; the functions decide what goes.';
