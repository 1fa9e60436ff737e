-- What: webhooks for the endings of runs, and the outbox of their deliveries.
-- Why: a receiver must hear of every ending and of none that was rolled back. The trigger writes the outbox in the very transaction that
-- appends the ending event, whoever that is (a worker, a forced cancel, the API); workers deliver it afterwards, at least once.
-- Locks: new objects; a short exclusive lock on run_events for the trigger. Old code: works on; its endings are delivered too.

create table flux.webhooks (
  agency_id text collate "C" not null references flux.agencies (agency_id),
  webhook_id uuid not null default flux.uuid_v7(),
  url text not null check (length(url) <= 2000),
  description text,
  types text[] not null check (types <@ array['gov.flux.run.completed', 'gov.flux.run.failed', 'gov.flux.run.cancelled']
    and cardinality(types) between 1 and 3),
  -- Endings of runs above it are not told: it is the clearance of whoever registered the webhook.
  clearance smallint not null check (clearance between 0 and 5),
  secret bytea not null,
  previous_secret bytea,
  previous_until timestamptz,
  enabled boolean not null default true,
  version bigint not null default 1,
  created_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, webhook_id),
  constraint both_or_none check ((previous_secret is null) = (previous_until is null))
);
comment on table flux.webhooks is 'Where to tell of endings. Secrets are sealed with a key of the agency that is derived from FLUX_DATA_KEY.';

create table flux.webhook_deliveries (
  agency_id text collate "C" not null,
  delivery_id uuid not null default flux.uuid_v7(),
  webhook_id uuid not null,
  run_id uuid not null,
  seq bigint not null,
  type text not null,
  data jsonb not null,
  occurred_at timestamptz not null,
  status text not null default 'PENDING' check (status in ('PENDING', 'DELIVERED', 'DEAD')),
  attempts int not null default 0,
  due_at timestamptz not null default clock_timestamp(),
  last_status int,
  last_error text,
  created_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  primary key (agency_id, delivery_id),
  foreign key (agency_id, webhook_id) references flux.webhooks (agency_id, webhook_id) on delete cascade,
  constraint finished_when_over check ((finished_at is null) = (status = 'PENDING'))
);
comment on table flux.webhook_deliveries is
  'The outbox: one row per ending and webhook. While one is sent, due_at is the end of the sender''s lease and attempts its fence.';
create unique index webhook_deliveries_once on flux.webhook_deliveries (agency_id, webhook_id, run_id, seq);
create index webhook_deliveries_due on flux.webhook_deliveries (agency_id, due_at) where status = 'PENDING';

alter table flux.webhooks enable row level security;
alter table flux.webhooks force row level security;
alter table flux.webhook_deliveries enable row level security;
alter table flux.webhook_deliveries force row level security;
create policy own_agency on flux.webhooks using (agency_id = (select flux.current_agency()))
  with check (agency_id = (select flux.current_agency()));
create policy own_agency on flux.webhook_deliveries using (agency_id = (select flux.current_agency()))
  with check (agency_id = (select flux.current_agency()));
create policy cleared on flux.webhook_deliveries as restrictive to flux_api
  using (exists (select from flux.runs r where r.agency_id = webhook_deliveries.agency_id and r.run_id = webhook_deliveries.run_id))
  with check (exists (select from flux.runs r where r.agency_id = webhook_deliveries.agency_id and r.run_id = webhook_deliveries.run_id));
create policy definer_delivers on flux.webhooks for select to flux_definer using (true);
create policy definer_delivers on flux.webhook_deliveries for select to flux_definer using (true);

create function flux.queue_webhooks() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  ending text := 'gov.flux.run.' || lower(substr(new.name, 4));
begin
  insert into flux.webhook_deliveries (agency_id, webhook_id, run_id, seq, type, data, occurred_at)
  select w.agency_id, w.webhook_id, new.run_id, new.seq, ending,
    jsonb_build_object('runId', new.run_id, 'pipeline', r.pipeline_name, 'pipelineVersion', r.pipeline_version, 'stage', r.stage,
      'attempt', new.attempt, 'seq', new.seq::text, 'failureCode', case when new.name = 'RunFailed' then r.failure_code end),
    new.at
  from flux.webhooks w
  join flux.runs r on r.agency_id = w.agency_id and r.run_id = new.run_id
  where w.agency_id = new.agency_id and w.enabled and ending = any (w.types) and r.classification <= w.clearance
  on conflict do nothing;
  return null;
end
$$;
comment on function flux.queue_webhooks() is 'Writes the outbox of an ending, in its transaction.';
create trigger queue_webhooks after insert on flux.run_events
  for each row when (new.name in ('RunCompleted', 'RunFailed', 'RunCancelled'))
  execute function flux.queue_webhooks();

grant select, insert, delete on flux.webhooks to flux_api;
grant update (enabled, secret, previous_secret, previous_until, version, updated_at) on flux.webhooks to flux_api;
grant select, insert on flux.webhook_deliveries to flux_api;
grant update (status, attempts, due_at, finished_at) on flux.webhook_deliveries to flux_api;
grant select on flux.webhooks, flux.webhook_deliveries to flux_definer;

create function flux.grant_agency_webhooks(p_rw name) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('grant select on flux.webhooks to %I', p_rw);
  execute format('grant select, insert on flux.webhook_deliveries to %I', p_rw);
  execute format('grant update (status, attempts, due_at, last_status, last_error, finished_at) on flux.webhook_deliveries to %I', p_rw);
end
$$;
comment on function flux.grant_agency_webhooks(name) is 'Grants an agency''s worker login its outbox: it writes endings into it and delivers them.';

grant create on schema flux to flux_definer;
set local role flux_definer;

create function flux.due_webhooks() returns table (agency_id text, rw_role name)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select l.agency_id, l.role_name
  from flux.agency_logins l
  where l.access = 'rw' and exists (
    select from flux.webhook_deliveries d
    join flux.webhooks w on w.agency_id = d.agency_id and w.webhook_id = d.webhook_id
    where d.agency_id = l.agency_id and d.status = 'PENDING' and d.due_at <= clock_timestamp() and w.enabled
  )
$$;
comment on function flux.due_webhooks() is 'Agencies with something to deliver now, and the login that delivers it.';
grant execute on function flux.due_webhooks() to flux_worker;

set local role flux_owner;
revoke create on schema flux from flux_definer;
