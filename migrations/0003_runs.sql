-- What: runs, their partitions, events, counts, sources, rejected records, loads; idempotency keys; audit entries.
-- Locks: new objects only.
--
-- Lock order in every transaction: the partition (lease) first, the run's row last.

create table flux.runs (
  agency_id text collate "C" not null references flux.agencies (agency_id),
  run_id uuid not null default flux.uuid_v7(),
  pipeline_name text collate "C" not null,
  pipeline_version int not null,
  stage text not null check (stage in ('INGEST', 'TRANSFORM', 'EXPORT', 'FULL')),
  content_type text not null,
  use_case text not null,
  classification smallint not null check (classification between 0 and 5),
  status text not null default 'PENDING'
    check (status in ('PENDING', 'IN_PROGRESS', 'COMPLETED', 'FAILED', 'CANCELLING', 'CANCELLED')),
  version bigint not null default 1,
  attempt int not null default 1,
  last_seq bigint not null default 0,
  priority smallint not null default 0,
  requested_by text not null,
  reason text,
  payload jsonb not null,
  trace_id text,
  records_total bigint,
  bytes_total bigint,
  failure_class text,
  failure_code text,
  failure_message text,
  created_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  finished_at timestamptz,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, run_id),
  foreign key (agency_id, pipeline_name, pipeline_version) references flux.pipelines (agency_id, name, version),
  -- The state machine in the database: a run has an end exactly when it is over, and a failure exactly when it failed.
  constraint finished_when_over check ((finished_at is not null) = (status in ('COMPLETED', 'FAILED', 'CANCELLED'))),
  constraint failure_when_failed check ((failure_code is not null) = (status = 'FAILED'))
);
comment on table flux.runs is 'Requested executions. last_seq is the run''s event counter, taken under the row lock, last in its transaction.';
create index runs_by_status on flux.runs (agency_id, status, run_id);
create index runs_by_pipeline on flux.runs (agency_id, pipeline_name, run_id);

create table flux.run_partitions (
  agency_id text collate "C" not null,
  run_id uuid not null,
  partition_no int not null check (partition_no >= 0),
  kind text not null check (kind in ('PLAN', 'BATCHES', 'PUBLISH')),
  stage text not null check (stage in ('INGEST', 'TRANSFORM', 'EXPORT', 'FULL')),
  status text not null default 'AVAILABLE'
    check (status in ('AVAILABLE', 'EXECUTING', 'COMPLETED', 'FAILED', 'CANCELLED')),
  epoch int not null default 0,
  takings int not null default 0,
  range jsonb not null default '{}',
  records_read bigint not null default 0,
  records_written bigint not null default 0,
  records_rejected bigint not null default 0,
  records_filtered bigint not null default 0,
  bytes_read bigint not null default 0,
  priority smallint not null default 0,
  available_at timestamptz not null default clock_timestamp(),
  leased_by text,
  lease_expires_at timestamptz,
  holder_pid int,
  started_at timestamptz,
  finished_at timestamptz,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, run_id, partition_no),
  foreign key (agency_id, run_id) references flux.runs (agency_id, run_id),
  constraint leased_when_executing check ((status = 'EXECUTING') = (leased_by is not null and lease_expires_at is not null))
);
comment on table flux.run_partitions is 'Units of claim. epoch rises at each taking and fences every write; takings counts takings since the last committed batch.';
create index run_partitions_available on flux.run_partitions (agency_id, priority, available_at) where status = 'AVAILABLE';
create index run_partitions_leased on flux.run_partitions (agency_id, lease_expires_at) where status = 'EXECUTING';

create table flux.run_events (
  agency_id text collate "C" not null,
  run_id uuid not null,
  seq bigint not null check (seq >= 1),
  event_id uuid not null default flux.uuid_v7(),
  at timestamptz not null default clock_timestamp(),
  name text not null,
  stage text,
  step text,
  partition_no int,
  attempt int not null,
  message text not null,
  data jsonb not null default '{}',
  trace_id text,
  primary key (agency_id, run_id, seq),
  foreign key (agency_id, run_id) references flux.runs (agency_id, run_id)
);
comment on table flux.run_events is 'The truth of a run: immutable, gapless from 1, in commit order.';

create table flux.step_counts (
  agency_id text collate "C" not null,
  run_id uuid not null,
  partition_no int not null,
  position int not null,
  stage text not null check (stage in ('INGEST', 'TRANSFORM', 'EXPORT')),
  step text not null,
  kind text not null check (kind in ('read', 'validate', 'row', 'filter', 'write')),
  records_in bigint not null default 0,
  records_out bigint not null default 0,
  records_rejected bigint not null default 0,
  records_filtered bigint not null default 0,
  primary key (agency_id, run_id, partition_no, position),
  foreign key (agency_id, run_id, partition_no) references flux.run_partitions (agency_id, run_id, partition_no)
);
comment on table flux.step_counts is 'Records in and out of every step of a partition; a completed run adds up.';

create table flux.source_objects (
  agency_id text collate "C" not null,
  object_id uuid not null default flux.uuid_v7(),
  run_id uuid not null,
  sha256 bytea not null check (length(sha256) = 32),
  byte_count bigint not null,
  address text not null,
  connection_name text collate "C" not null,
  origin text not null,
  media_type text not null,
  modified_at timestamptz,
  pinned_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, object_id),
  foreign key (agency_id, run_id) references flux.runs (agency_id, run_id)
);
create unique index source_objects_run on flux.source_objects (agency_id, run_id);
comment on table flux.source_objects is 'Pinned sources: exact bytes by digest. address is keyed per agency, so equal bytes of two agencies share nothing.';

create table flux.rejected_records (
  agency_id text collate "C" not null,
  run_id uuid not null,
  record_no bigint not null check (record_no >= 1),
  partition_no int not null,
  byte_offset bigint,
  contract_name text collate "C",
  contract_version int,
  reasons jsonb not null,
  raw text,
  created_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, run_id, record_no),
  foreign key (agency_id, run_id, partition_no) references flux.run_partitions (agency_id, run_id, partition_no)
);
comment on table flux.rejected_records is 'Records a contract refused. reasons: [{path, rule, message}], one per violated rule.';

create table flux.datasets (
  agency_id text collate "C" not null references flux.agencies (agency_id),
  name text collate "C" not null check (name ~ '^[a-z][a-z0-9_]{0,47}$'),
  columns jsonb not null,
  last_load bigint not null default 0,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, name)
);
comment on table flux.datasets is 'Tables of an agency''s lake. last_load is the counter of load numbers.';

create table flux.loads (
  agency_id text collate "C" not null,
  dataset text collate "C" not null,
  load_no bigint not null check (load_no >= 1),
  run_id uuid not null,
  mode text not null check (mode in ('append', 'replace', 'merge')),
  status text not null default 'OPEN' check (status in ('OPEN', 'PUBLISHED', 'SUPERSEDED')),
  columns jsonb not null,
  record_count bigint,
  opened_at timestamptz not null default clock_timestamp(),
  published_at timestamptz,
  primary key (agency_id, dataset, load_no),
  foreign key (agency_id, dataset) references flux.datasets (agency_id, name),
  foreign key (agency_id, run_id) references flux.runs (agency_id, run_id)
);
create unique index loads_run on flux.loads (agency_id, run_id);
comment on column flux.loads.columns is 'The names of the run''s output, in the order of its files; the dataset''s own order may differ.';
comment on table flux.loads is 'One run''s rows in a dataset: invisible while OPEN, attached at once when PUBLISHED.';

create table flux.idempotency_keys (
  agency_id text collate "C" not null references flux.agencies (agency_id),
  key text not null check (length(key) between 1 and 255),
  operation text not null,
  request_sha256 bytea not null check (length(request_sha256) = 32),
  result jsonb not null,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null default clock_timestamp() + interval '7 days',
  primary key (agency_id, operation, key)
);
comment on table flux.idempotency_keys is 'First results by key; the same key with another request is a conflict.';

create table flux.audit_entries (
  agency_id text collate "C" not null references flux.agencies (agency_id),
  entry_id uuid not null default flux.uuid_v7(),
  at timestamptz not null default clock_timestamp(),
  actor text not null,
  role text not null,
  action text not null,
  resource_type text not null,
  resource_id text,
  success boolean not null,
  error_code text,
  body bytea not null,
  primary key (agency_id, entry_id)
);
comment on table flux.audit_entries is 'Who did what. body is the entry''s RFC 8785 canonical bytes, with reason, before, after, trace and request ids.';

create function flux.refuse_change() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception '% on %.% is refused: the table is append-only', tg_op, tg_table_schema, tg_table_name
    using errcode = '42501';
end
$$;
comment on function flux.refuse_change() is 'Stops update, delete and truncate, for the owner too.';
create trigger append_only before update or delete or truncate on flux.audit_entries
  for each statement execute function flux.refuse_change();
create trigger append_only before update on flux.run_events
  for each statement execute function flux.refuse_change();

do $$
declare
  tenant text;
begin
  foreach tenant in array array['runs', 'run_partitions', 'run_events', 'step_counts', 'source_objects',
      'rejected_records', 'datasets', 'loads', 'idempotency_keys', 'audit_entries'] loop
    execute format('alter table flux.%I enable row level security', tenant);
    execute format('alter table flux.%I force row level security', tenant);
    execute format('create policy own_agency on flux.%I using (agency_id = (select flux.current_agency()))
      with check (agency_id = (select flux.current_agency()))', tenant);
  end loop;
end
$$;
create policy cleared on flux.runs as restrictive
  using (classification <= (select flux.current_clearance()))
  with check (classification <= (select flux.current_clearance()));

grant select on flux.runs, flux.run_partitions, flux.run_events, flux.step_counts, flux.source_objects,
  flux.rejected_records, flux.datasets, flux.loads, flux.idempotency_keys, flux.audit_entries to flux_api;
grant insert on flux.runs, flux.run_partitions, flux.run_events, flux.idempotency_keys, flux.audit_entries to flux_api;
grant update (status, version, attempt, last_seq, finished_at, updated_at, failure_class, failure_code, failure_message)
  on flux.runs to flux_api;
grant update (status, leased_by, lease_expires_at, available_at, finished_at, updated_at)
  on flux.run_partitions to flux_api;
-- An expired key may be used again: its row is overwritten, never deleted by the API.
grant update (request_sha256, result, created_at, expires_at) on flux.idempotency_keys to flux_api;
