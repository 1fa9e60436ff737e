-- What: cancelling in two phases, resuming, and where a run came from.
-- Why: a run that is over stays over in the database too, whatever the code does; only a resume begins its next attempt.
-- Locks: short exclusive locks on runs, run_partitions and checkpoints; no table is rewritten. Old code: works on, but does
-- not acknowledge a cancel.

alter table flux.runs
  add column cancel_deadline timestamptz,
  add column rerun_of uuid,
  add column forked_from uuid,
  add column forked_partition int,
  add column forked_version int,
  -- `not valid`: there is nothing to check in new columns, and the check would ask row-level security for a tenant.
  add foreign key (agency_id, rerun_of) references flux.runs (agency_id, run_id) not valid,
  add foreign key (agency_id, forked_from) references flux.runs (agency_id, run_id) not valid,
  add constraint one_origin check (rerun_of is null or forked_from is null),
  add constraint forked_from_checkpoint check (
    (forked_from is null) = (forked_partition is null) and (forked_from is null) = (forked_version is null));
comment on column flux.runs.cancel_deadline is 'When a requested cancel is forced; null when none was asked for in this attempt.';
comment on column flux.runs.rerun_of is 'The run whose inputs this one repeats.';
comment on column flux.runs.forked_from is 'The run of the checkpoint from which this one goes on, with its partition and version.';
create index runs_rerun_of on flux.runs (agency_id, rerun_of) where rerun_of is not null;
create index runs_forked_from on flux.runs (agency_id, forked_from) where forked_from is not null;

alter table flux.run_partitions add column cancel_by timestamptz;
comment on column flux.run_partitions.cancel_by is 'Its holder is asked to stop, and loses it by force at this time.';
create index run_partitions_cancelled on flux.run_partitions (agency_id, cancel_by)
  where status = 'EXECUTING' and cancel_by is not null;

-- The transition table of src/domain/run.ts. SQLSTATE FX002 is INVALID_TRANSITION in src/errors.ts.
create function flux.guard_run() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if old.status = new.status then
    if new.last_seq <> old.last_seq or new.attempt <> old.attempt then
      raise exception 'run % is % and gets no more events', old.run_id, old.status using errcode = 'FX002';
    end if;
    return new;
  end if;
  if old.status || ' ' || new.status not in (
      'PENDING IN_PROGRESS', 'PENDING FAILED', 'PENDING CANCELLED',
      'IN_PROGRESS COMPLETED', 'IN_PROGRESS FAILED', 'IN_PROGRESS CANCELLING', 'IN_PROGRESS CANCELLED',
      'CANCELLING CANCELLED',
      'FAILED PENDING', 'CANCELLED PENDING') then
    raise exception 'run % is % and cannot become %', old.run_id, old.status, new.status using errcode = 'FX002';
  end if;
  if new.attempt <> old.attempt + (old.status in ('FAILED', 'CANCELLED'))::int then
    raise exception 'run % resumes with attempt %, not %', old.run_id, old.attempt + 1, new.attempt using errcode = 'FX002';
  end if;
  return new;
end
$$;
comment on function flux.guard_run() is 'Refuses every change of a run''s state that its state machine does not have (FX002).';
create trigger guard_run before update on flux.runs
  for each row
  when (old.status is distinct from new.status or old.status in ('COMPLETED', 'FAILED', 'CANCELLED'))
  execute function flux.guard_run();

-- Every batch saves a checkpoint in its transaction, so no batch commits for a partition that is over: not after its holder
-- acknowledged a cancel, and not after somebody else ended it.
create function flux.guard_checkpoint() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform from flux.run_partitions p
  where p.agency_id = new.agency_id and p.run_id = new.run_id and p.partition_no = new.partition_no
    and p.status in ('COMPLETED', 'FAILED', 'CANCELLED');
  if found then
    raise exception 'partition % is over and commits no more batches', new.partition_no using errcode = 'FX002';
  end if;
  return new;
end
$$;
comment on function flux.guard_checkpoint() is 'Refuses a batch of a partition that is completed, failed or cancelled (FX002).';
create trigger guard_checkpoint before insert on flux.checkpoints
  for each row execute function flux.guard_checkpoint();

grant update (cancel_deadline) on flux.runs to flux_api;
grant update (cancel_by, holder_pid, takings) on flux.run_partitions to flux_api;

grant create on schema flux to flux_definer;
set local role flux_definer;

create function flux.cancel_requested(p_agency text, p_run_id uuid, p_partition_no int, p_epoch int) returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from flux.run_partitions p
    where p.agency_id = p_agency and p.run_id = p_run_id and p.partition_no = p_partition_no
      and p.epoch = p_epoch and p.status = 'EXECUTING' and p.cancel_by is not null)
$$;
comment on function flux.cancel_requested(text, uuid, int, int) is 'Whether the holder of a partition is asked to stop.';

create function flux.overdue_cancels() returns table (agency_id text, run_id uuid, rw_role name)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select distinct p.agency_id, p.run_id, l.role_name
  from flux.run_partitions p
  join flux.agency_logins l on l.agency_id = p.agency_id and l.access = 'rw'
  where p.status = 'EXECUTING' and p.cancel_by <= clock_timestamp()
$$;
comment on function flux.overdue_cancels() is 'Runs whose holders were asked to stop and have not acknowledged in time.';

grant execute on function flux.cancel_requested(text, uuid, int, int), flux.overdue_cancels() to flux_worker;

set local role flux_owner;
revoke create on schema flux from flux_definer;
