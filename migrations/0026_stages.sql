-- What: single stages and what they leave behind, dry runs, and the bookkeeping of reprocessed rejected records.
-- Why: a stage alone works on the typed parts of the last successful earlier one, so these must be known; a dry run's answer must
--   be kept somewhere that no dataset sees; and a rejected record may land once, however often it is put through a contract again.
-- Locks: short exclusive locks on runs and rejected_records; no table is rewritten. Old code: works on.

alter table flux.runs
  add column input_run uuid,
  add column reprocess_of uuid,
  add column staged_columns jsonb,
  add column dry_run_plan jsonb,
  -- `not valid`: there is nothing to check in new columns, and the check would ask row-level security for a tenant.
  add foreign key (agency_id, input_run) references flux.runs (agency_id, run_id) not valid,
  add foreign key (agency_id, reprocess_of) references flux.runs (agency_id, run_id) not valid,
  drop constraint one_origin,
  add constraint one_origin check (num_nonnulls(rerun_of, forked_from, reprocess_of) <= 1) not valid;
comment on column flux.runs.input_run is 'The run of an earlier stage whose parts this one reads; null when it reads a source.';
comment on column flux.runs.reprocess_of is 'The run whose rejected records this one puts through the contract again.';
comment on column flux.runs.staged_columns is 'The typed columns of the parts that it writes: [{name, original, type}], DuckDB types; null when it writes none.';
comment on column flux.runs.dry_run_plan is 'What a dry run found.';
create index runs_reprocess_of on flux.runs (agency_id, reprocess_of) where reprocess_of is not null;
create index runs_stage_outputs on flux.runs (agency_id, pipeline_name, stage, run_id)
  where status = 'COMPLETED' and stage in ('INGEST', 'TRANSFORM');

create table flux.run_parts (
  agency_id text collate "C" not null,
  run_id uuid not null,
  partition_no int not null,
  version int not null check (version >= 1),
  address text not null,
  sha256 bytea not null check (length(sha256) = 32),
  byte_count bigint not null,
  key_version int,
  record_count bigint not null check (record_count >= 1),
  created_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, run_id, partition_no, version),
  foreign key (agency_id, run_id, partition_no) references flux.run_partitions (agency_id, run_id, partition_no)
);
comment on table flux.run_parts is
  'Typed records of a single stage as Parquet in the object store, one part for each batch that let records out; version is the batch number.';
alter table flux.run_parts enable row level security;
alter table flux.run_parts force row level security;
create policy own_agency on flux.run_parts
  using (agency_id = (select flux.current_agency()))
  with check (agency_id = (select flux.current_agency()));

alter table flux.rejected_records
  add column claimed_by uuid,
  add column refused_by uuid,
  add column landed_by uuid;
comment on column flux.rejected_records.claimed_by is 'The reprocessing run that holds it, or held it last.';
comment on column flux.rejected_records.refused_by is 'The reprocessing run that found it broken again; reasons and contract are that run''s.';
comment on column flux.rejected_records.landed_by is 'The completed run that has accounted for it: written, or left out by a declared rule. Set once.';
create index rejected_records_open on flux.rejected_records (agency_id, run_id, record_no) where landed_by is null;

create function flux.guard_landed() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception 'record % of run % has landed by run % and lands only once', old.record_no, old.run_id, old.landed_by
    using errcode = 'FX002';
end
$$;
comment on function flux.guard_landed() is 'Refuses every change of a rejected record that has landed (FX002).';
create trigger guard_landed before update of claimed_by, refused_by, landed_by on flux.rejected_records
  for each row when (old.landed_by is not null) execute function flux.guard_landed();

create or replace function flux.grant_agency_runs(p_rw name) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('grant execute on function flux.expected_checkpoint(uuid, int), flux.checkpoint_problem(flux.checkpoints)
    to %I', p_rw);
  execute format('grant select, insert, delete on flux.run_parts to %I', p_rw);
  execute format('grant update (claimed_by, refused_by, landed_by, reasons, raw, sealed, contract_name, contract_version)
    on flux.rejected_records to %I', p_rw);
  execute format('grant update (staged_columns, dry_run_plan) on flux.runs to %I', p_rw);
end
$$;
