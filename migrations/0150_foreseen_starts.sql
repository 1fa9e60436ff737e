-- What: what the start of a run writes beside its audit entry, as one function; and two functions that refuse what was prepared from an
--   earlier reading when the reading would be another now.
-- Why: three statements cost the server a quarter more than one that does the same, and a start's own transaction holds nothing else. A start
--   reads its agency and pipeline and then writes: who has read the same before can send it all in one round trip, and then it must
--   fail when something has changed.
-- As whoever calls: row-level security decides, as it did for the statements.
-- Locks: none. Old code: works on.

create function flux.queue_runs(p_runs jsonb) returns setof flux.runs
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  agency text := flux.current_agency();
begin
  return query
    insert into flux.runs (
      agency_id, run_id, version, last_seq, pipeline_name, pipeline_version, stage, content_type, use_case, classification, priority,
      requested_by, reason, payload, payload_sealed, trace_id, trace_span, rerun_of, forked_from, forked_partition, forked_version,
      input_run, reprocess_of)
    select agency, run.id, 2, 1, run."pipelineName", run."pipelineVersion", run.stage, run."contentType", run."useCase",
      run.classification, coalesce(run.priority, 0), run."requestedBy", run.reason, run.payload, decode(run.sealed, 'base64'),
      run."traceId", run."traceSpan", run."rerunOf", run."forkedFrom", run."forkedPartition", run."forkedVersion", run."inputRun",
      run."reprocessOf"
    from jsonb_to_recordset(p_runs) as run (
      id uuid, "pipelineName" text, "pipelineVersion" int, stage text, "contentType" text, "useCase" text, classification smallint,
      priority smallint, "requestedBy" text, reason text, payload jsonb, sealed text, "traceId" text, "traceSpan" text,
      "rerunOf" uuid, "forkedFrom" uuid, "forkedPartition" int, "forkedVersion" int, "inputRun" uuid, "reprocessOf" uuid)
    returning *;
  insert into flux.run_partitions (agency_id, run_id, partition_no, kind, stage, priority)
  select agency, run.id, 0, 'PLAN', run.stage, coalesce(run.priority, 0)
  from jsonb_to_recordset(p_runs) as run (id uuid, stage text, priority smallint);
  insert into flux.run_events (agency_id, run_id, seq, name, attempt, message, data, trace_id)
  select agency, run.id, 1, run.event ->> 'name', 1, run.event ->> 'message', coalesce(run.event -> 'data', '{}'), run."traceId"
  from jsonb_to_recordset(p_runs) as run (id uuid, "traceId" text, event jsonb);
end
$$;
comment on function flux.queue_runs(jsonb) is 'Inserts PENDING runs of the session''s agency, each with its first partition and its first event; returns the runs.';

create function flux.require_pipelines(p_names text[], p_versions int[], p_sha256s bytea[], p_clock_ms bigint) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  agency text := flux.current_agency();
  current flux.pipelines;
begin
  if abs(extract(epoch from clock_timestamp()) * 1000 - p_clock_ms) > 100 then
    raise exception 'the clock that new ids are of is not the database''s' using errcode = 'FX011';
  end if;
  -- One after the other, because the plan for one is kept; for a list of unknown length it would be made anew each time.
  for n in 1..cardinality(p_names) loop
    select p.* into current
    from flux.agencies a
    join flux.pipelines p on p.agency_id = a.agency_id
    where a.agency_id = agency and a.enabled and p.name = p_names[n]
    order by p.version desc
    limit 1;
    if not found or not current.enabled or (current.version, current.sha256) <> (p_versions[n], p_sha256s[n]) then
      raise exception 'a pipeline or its agency is not what was foreseen' using errcode = 'FX011';
    end if;
  end loop;
end
$$;
comment on function flux.require_pipelines(text[], int[], bytea[], bigint) is 'FX011 unless the session''s agency is enabled, the named versions are its current and enabled ones, and the clock is within a tenth of a second of the database''s.';

create function flux.require_new_keys(p_lock_space int, p_operation text, p_keys text[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  agency text := flux.current_agency();
  each text;
begin
  foreach each in array p_keys loop
    if not pg_try_advisory_xact_lock(p_lock_space, hashtext(agency || '/' || p_operation || '/' || each)) then
      raise exception 'a key is in the hands of another request' using errcode = 'FX012';
    end if;
  end loop;
  -- A statement of its own, which sees what was committed before the locks were given.
  perform from flux.idempotency_keys k
  where k.agency_id = agency and k.operation = p_operation and k.key = any (p_keys) and k.expires_at > clock_timestamp();
  if found then
    raise exception 'a key has a first result' using errcode = 'FX012';
  end if;
end
$$;
comment on function flux.require_new_keys(int, text, text[]) is 'Locks idempotency keys until the transaction ends; FX012 when one is locked by another or has a first result.';

grant execute on function flux.queue_runs(jsonb), flux.require_pipelines(text[], int[], bytea[], bigint),
  flux.require_new_keys(int, text, text[]) to flux_api;

create or replace function flux.grant_agency_scheduling(p_rw name) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('grant insert on flux.runs to %I', p_rw);
  execute format('grant execute on function flux.queue_runs(jsonb) to %I', p_rw);
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
