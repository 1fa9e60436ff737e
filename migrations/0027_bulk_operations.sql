-- What: operations on many runs, with the runs that they meant when they were asked for.
-- Why: the filter is frozen into a list, so that what begins meanwhile is left alone, and so that an API process that dies
--   leaves to the next one what is left to do.
-- Locks: new objects, and a short lock on runs for the foreign key. Old code: works on, and knows none of them.

create table flux.bulk_operations (
  agency_id text collate "C" not null references flux.agencies (agency_id),
  operation_id uuid not null default flux.uuid_v7(),
  action text not null check (action in ('CANCEL', 'RESUME')),
  status text not null default 'RUNNING' check (status in ('RUNNING', 'COMPLETED', 'ABORTED')),
  filter jsonb not null,
  reason text not null,
  grace_seconds int,
  requested_by text not null,
  role text not null,
  clearance smallint not null check (clearance between 0 and 5),
  trace_id text,
  ip text,
  user_agent text,
  total int not null check (total >= 0),
  leased_by text,
  lease_expires_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  primary key (agency_id, operation_id),
  constraint finished_when_over check ((finished_at is not null) = (status <> 'RUNNING'))
);
comment on table flux.bulk_operations is 'Cancels and resumes of many runs, done one after the other by an API process under a lease, in the name of who asked.';
create index bulk_operations_running on flux.bulk_operations (agency_id, lease_expires_at) where status = 'RUNNING';

create table flux.bulk_items (
  agency_id text collate "C" not null,
  operation_id uuid not null,
  position int not null check (position >= 1),
  run_id uuid not null,
  status text not null default 'PENDING' check (status in ('PENDING', 'DONE', 'SKIPPED', 'FAILED')),
  attempts int not null default 0,
  error_code text,
  error_message text,
  finished_at timestamptz,
  primary key (agency_id, operation_id, position),
  foreign key (agency_id, operation_id) references flux.bulk_operations (agency_id, operation_id) on delete cascade,
  foreign key (agency_id, run_id) references flux.runs (agency_id, run_id) on delete cascade,
  constraint error_when_not_done check ((error_code is not null) = (status in ('SKIPPED', 'FAILED')))
);
comment on table flux.bulk_items is 'The runs that an operation means, frozen when it was asked for, and what became of each.';
create index bulk_items_run on flux.bulk_items (agency_id, run_id);

do $$
declare
  tenant text;
begin
  foreach tenant in array array['bulk_operations', 'bulk_items'] loop
    execute format('alter table flux.%I enable row level security', tenant);
    execute format('alter table flux.%I force row level security', tenant);
    execute format('create policy own_agency on flux.%I using (agency_id = (select flux.current_agency()))
      with check (agency_id = (select flux.current_agency()))', tenant);
  end loop;
end
$$;
-- It counts runs that its asker was cleared for.
create policy cleared on flux.bulk_operations as restrictive to flux_api
  using (clearance <= (select flux.current_clearance()))
  with check (clearance <= (select flux.current_clearance()));
create policy cleared on flux.bulk_items as restrictive to flux_api
  using (exists (select from flux.runs r where r.agency_id = bulk_items.agency_id and r.run_id = bulk_items.run_id))
  with check (exists (select from flux.runs r where r.agency_id = bulk_items.agency_id and r.run_id = bulk_items.run_id));
grant select, insert on flux.bulk_operations, flux.bulk_items to flux_api;
grant update (status, leased_by, lease_expires_at, finished_at) on flux.bulk_operations to flux_api;
grant update (status, attempts, error_code, error_message, finished_at) on flux.bulk_items to flux_api;

grant select, update on flux.bulk_operations to flux_definer;
create policy definer_claims on flux.bulk_operations to flux_definer using (true) with check (true);
grant create on schema flux to flux_definer;
set local role flux_definer;

create function flux.claim_bulk_operation(p_holder text, p_lease_ms int)
returns table (agency_id text, operation_id uuid, role text, clearance smallint)
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
  with next as (
    select o.agency_id, o.operation_id
    from flux.bulk_operations o
    where o.status = 'RUNNING' and (o.lease_expires_at is null or o.lease_expires_at < clock_timestamp())
    -- The one that has waited longest, so that a long one does not keep another agency's short one waiting.
    order by o.lease_expires_at nulls first, o.operation_id
    limit 1
    for update skip locked
  )
  update flux.bulk_operations o
  set leased_by = p_holder,
      lease_expires_at = clock_timestamp() + p_lease_ms * interval '1 millisecond'
  from next
  where o.agency_id = next.agency_id and o.operation_id = next.operation_id
  returning o.agency_id, o.operation_id, o.role, o.clearance
$$;
comment on function flux.claim_bulk_operation(text, int) is
  'Takes a bulk operation of any agency that nobody works on; no row when there is none.';
grant execute on function flux.claim_bulk_operation(text, int) to flux_api;

set local role flux_owner;
revoke create on schema flux from flux_definer;
