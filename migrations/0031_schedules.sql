-- What: schedules with their ticks, and backfills with their dates: what starts runs by itself.
-- Why: pipelines ran only when somebody asked. A tick's and a date's place in its primary key is what makes each start one run,
-- however many workers look, and across restarts.
-- Locks: new objects only.

create table flux.schedules (
  agency_id text collate "C" not null references flux.agencies (agency_id),
  schedule_id uuid not null default flux.uuid_v7(),
  name text collate "C" not null check (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  pipeline_name text collate "C" not null,
  classification smallint not null check (classification between 0 and 5),
  cron text not null,
  time_zone text not null,
  catch_up text not null check (catch_up in ('NONE', 'LATEST', 'ALL')),
  catch_up_limit int not null check (catch_up_limit between 1 and 100),
  overlap text not null check (overlap in ('SKIP', 'QUEUE', 'ALLOW')),
  priority smallint not null default 0,
  source text,
  metadata jsonb not null default '{}',
  status text not null default 'ACTIVE' check (status in ('ACTIVE', 'PAUSED', 'REMOVED')),
  next_tick_at timestamptz,
  version bigint not null default 1,
  created_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, schedule_id),
  constraint active_has_next check (status <> 'ACTIVE' or next_tick_at is not null)
);
comment on table flux.schedules is 'When runs start by themselves. next_tick_at is the first tick that has not been decided.';
create unique index schedules_name on flux.schedules (agency_id, name) where status <> 'REMOVED';

create table flux.schedule_ticks (
  agency_id text collate "C" not null,
  schedule_id uuid not null,
  tick_at timestamptz not null,
  status text not null check (status in ('STARTED', 'WAITING', 'SKIPPED', 'FAILED')),
  started_run uuid,
  reason text,
  message text,
  stands_for int not null default 1 check (stands_for >= 1),
  caught_up boolean not null default false,
  decided_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, schedule_id, tick_at),
  foreign key (agency_id, schedule_id) references flux.schedules (agency_id, schedule_id),
  foreign key (agency_id, started_run) references flux.runs (agency_id, run_id),
  constraint run_when_started check ((status = 'STARTED') = (started_run is not null)),
  constraint reason_when_not check ((status in ('SKIPPED', 'FAILED')) = (reason is not null))
);
comment on table flux.schedule_ticks is 'What became of each tick. stands_for: a skipped row may stand for earlier ones that were missed with it.';
create unique index schedule_ticks_run on flux.schedule_ticks (agency_id, started_run) where started_run is not null;
create index schedule_ticks_waiting on flux.schedule_ticks (agency_id, schedule_id, tick_at) where status = 'WAITING';

create table flux.backfills (
  agency_id text collate "C" not null references flux.agencies (agency_id),
  backfill_id uuid not null default flux.uuid_v7(),
  pipeline_name text collate "C" not null,
  classification smallint not null check (classification between 0 and 5),
  first_date date not null,
  last_date date not null,
  step text not null check (step in ('DAY', 'MONTH')),
  concurrency int not null check (concurrency between 1 and 50),
  priority smallint not null default 0,
  source text,
  metadata jsonb not null default '{}',
  status text not null default 'RUNNING' check (status in ('RUNNING', 'COMPLETED', 'FAILED', 'CANCELLING', 'CANCELLED')),
  reason text,
  requested_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  primary key (agency_id, backfill_id),
  check (first_date <= last_date),
  constraint backfill_finished check ((finished_at is not null) = (status in ('COMPLETED', 'FAILED', 'CANCELLED')))
);
comment on table flux.backfills is 'One run for each date of a range, some at a time.';

create table flux.backfill_dates (
  agency_id text collate "C" not null,
  backfill_id uuid not null,
  date date not null,
  status text not null default 'PENDING' check (status in ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED')),
  attempt int not null default 1 check (attempt >= 1),
  started_run uuid,
  message text,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, backfill_id, date),
  foreign key (agency_id, backfill_id) references flux.backfills (agency_id, backfill_id),
  foreign key (agency_id, started_run) references flux.runs (agency_id, run_id)
);
comment on table flux.backfill_dates is 'Each date of a backfill with its run. attempt counts the runs of the date: one more for each resume of a failed one.';
create unique index backfill_dates_run on flux.backfill_dates (agency_id, started_run) where started_run is not null;
create index backfill_dates_open on flux.backfill_dates (agency_id, backfill_id, status, date) where status in ('PENDING', 'RUNNING');

-- What a worker looks through, of all agencies: neither names nor classifications, which the definer could not read anyway.
create table flux.agenda (
  agency_id text collate "C" not null references flux.agencies (agency_id),
  kind text not null check (kind in ('SCHEDULE', 'BACKFILL')),
  id uuid not null,
  due_at timestamptz not null,
  primary key (agency_id, kind, id)
);
comment on table flux.agenda is 'Active schedules with their next tick, and backfills that are not over. Kept by flux.keep_agenda alone.';
create index agenda_due on flux.agenda (due_at);

create function flux.keep_agenda() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  entry flux.agenda;
  open boolean;
begin
  if tg_table_name = 'schedules' then
    entry := row(new.agency_id, 'SCHEDULE', new.schedule_id, new.next_tick_at);
    open := new.status = 'ACTIVE';
  else
    entry := row(new.agency_id, 'BACKFILL', new.backfill_id, clock_timestamp());
    open := new.status in ('RUNNING', 'CANCELLING');
  end if;
  if open then
    insert into flux.agenda values (entry.*)
    on conflict (agency_id, kind, id) do update set due_at = excluded.due_at;
  else
    delete from flux.agenda a where a.agency_id = entry.agency_id and a.kind = entry.kind and a.id = entry.id;
  end if;
  return null;
end
$$;
comment on function flux.keep_agenda() is 'Keeps the agenda in step with schedules and backfills.';
create trigger keep_agenda after insert or update on flux.schedules for each row execute function flux.keep_agenda();
create trigger keep_agenda after insert or update on flux.backfills for each row execute function flux.keep_agenda();

do $$
declare
  tenant text;
begin
  foreach tenant in array array['schedules', 'schedule_ticks', 'backfills', 'backfill_dates', 'agenda'] loop
    execute format('alter table flux.%I enable row level security', tenant);
    execute format('alter table flux.%I force row level security', tenant);
    execute format('create policy own_agency on flux.%I using (agency_id = (select flux.current_agency()))
      with check (agency_id = (select flux.current_agency()))', tenant);
  end loop;
end
$$;
create policy definer_looks on flux.agenda for select to flux_definer using (true);
create policy definer_looks on flux.schedule_ticks for select to flux_definer using (true);
create policy cleared on flux.schedules as restrictive
  using (classification <= (select flux.current_clearance()))
  with check (classification <= (select flux.current_clearance()));
create policy cleared on flux.backfills as restrictive
  using (classification <= (select flux.current_clearance()))
  with check (classification <= (select flux.current_clearance()));

-- Ticks and dates exist for a caller of the API only when their schedule or backfill does.
create policy cleared on flux.schedule_ticks as restrictive to flux_api
  using (exists (select from flux.schedules s where s.agency_id = schedule_ticks.agency_id and s.schedule_id = schedule_ticks.schedule_id))
  with check (exists (select from flux.schedules s where s.agency_id = schedule_ticks.agency_id and s.schedule_id = schedule_ticks.schedule_id));
create policy cleared on flux.backfill_dates as restrictive to flux_api
  using (exists (select from flux.backfills b where b.agency_id = backfill_dates.agency_id and b.backfill_id = backfill_dates.backfill_id))
  with check (exists (select from flux.backfills b where b.agency_id = backfill_dates.agency_id and b.backfill_id = backfill_dates.backfill_id));

grant select, insert on flux.schedules, flux.backfills, flux.backfill_dates to flux_api;
grant select on flux.schedule_ticks to flux_api;
grant update (cron, time_zone, catch_up, catch_up_limit, overlap, priority, source, metadata, status, next_tick_at, version,
  updated_at) on flux.schedules to flux_api;
grant update (status, updated_at, finished_at) on flux.backfills to flux_api;
grant update (status, attempt, started_run, message, updated_at) on flux.backfill_dates to flux_api;
-- Ticks that wait go when their schedule is paused or removed.
grant update (status, reason, message, decided_at) on flux.schedule_ticks to flux_api;
grant select, insert, update, delete on flux.agenda to flux_api;
grant select on flux.agenda, flux.schedule_ticks to flux_definer;

-- What an agency's own login needs to start runs for its schedules and backfills.
create function flux.grant_agency_scheduling(p_rw name) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('grant insert on flux.runs to %I', p_rw);
  execute format('grant select, insert on flux.idempotency_keys to %I', p_rw);
  execute format('grant update (request_sha256, result, created_at, expires_at) on flux.idempotency_keys to %I', p_rw);
  execute format('grant select on flux.schedules, flux.backfills to %I', p_rw);
  execute format('grant update (next_tick_at, updated_at) on flux.schedules to %I', p_rw);
  execute format('grant select, insert, update on flux.schedule_ticks to %I', p_rw);
  execute format('grant update (status, updated_at, finished_at) on flux.backfills to %I', p_rw);
  execute format('grant select, update on flux.backfill_dates to %I', p_rw);
  execute format('grant select, insert, update, delete on flux.agenda to %I', p_rw);
end
$$;
comment on function flux.grant_agency_scheduling(name) is 'Grants an agency''s worker login what its schedules and backfills need.';

grant create on schema flux to flux_definer;
set local role flux_definer;

create function flux.due_work(p_limit int) returns table (kind text, agency_id text, id uuid, rw_role name)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select due.kind, due.agency_id, due.id, l.role_name
  from flux.agenda due
  join flux.agencies a on a.agency_id = due.agency_id and a.enabled
  join flux.agency_logins l on l.agency_id = due.agency_id and l.access = 'rw'
  where due.due_at <= clock_timestamp()
    or (due.kind = 'SCHEDULE' and exists (
      select from flux.schedule_ticks t
      where t.agency_id = due.agency_id and t.schedule_id = due.id and t.status = 'WAITING'))
  order by due.due_at
  limit p_limit
$$;
comment on function flux.due_work(int) is 'Schedules with a tick to decide or a run to start, and backfills that are not over, of any agency.';
grant execute on function flux.due_work(int) to flux_worker;

set local role flux_owner;
revoke create on schema flux from flux_definer;
