-- What: a checkpoint is held against the run's history as well: the event that told of its saving must give the same hash, the
--   event that it names as its last must be there, and what the history saved must be stored. An index for it, and the grants of
--   agencies' logins for what 0025 to 0029 add.
-- Why: digest, place and chain cannot tell an older state of the table that was put back whole, a chain that was forged from its
--   first link on, or rows that are gone. The history is append-only and commits with the checkpoint.
-- Locks: share lock on run_events while the index is built; functions are replaced.

create index run_events_checkpoints on flux.run_events (agency_id, run_id, partition_no, seq)
  where name in ('CheckpointSaved', 'CheckpointRejected');

create function flux.expected_checkpoint(p_run_id uuid, p_partition_no int) returns int
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select case e.name when 'CheckpointSaved' then (e.data ->> 'version')::int else (e.data ->> 'resumesFrom')::int end
  from flux.run_events e
  where e.agency_id = (select flux.current_agency()) and e.run_id = p_run_id and e.partition_no = p_partition_no
    and e.name in ('CheckpointSaved', 'CheckpointRejected')
  order by e.seq desc
  limit 1
$$;
comment on function flux.expected_checkpoint(uuid, int) is
  'The newest version that the run''s history has of a partition; null when it tells of none.';

create function flux.checkpoint_problem(c flux.checkpoints) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  expected int;
  told bytea;
  last_event jsonb;
begin
  if sha256(c.body) <> c.hash then
    return 'DIGEST';
  end if;
  if not flux.checkpoint_intact(c) then
    return 'PLACE';
  end if;
  -- A version whose link to its predecessor is broken proves nothing about what came before it.
  if c.version > 1 and not exists (
      select from flux.checkpoints p
      where p.agency_id = c.agency_id and p.run_id = c.run_id and p.partition_no = c.partition_no
        and p.version = c.version - 1 and p.hash = c.previous_hash) then
    return 'CHAIN';
  end if;
  -- Retention takes a finished run's events from the first on: without the first nothing can be held against them.
  if not exists (select from flux.run_events e where e.agency_id = c.agency_id and e.run_id = c.run_id and e.seq = 1) then
    return null;
  end if;
  expected := flux.expected_checkpoint(c.run_id, c.partition_no);
  select decode(e.data ->> 'hash', 'hex') into told
  from flux.run_events e
  where e.agency_id = c.agency_id and e.run_id = c.run_id and e.partition_no = c.partition_no
    and e.name = 'CheckpointSaved' and (e.data ->> 'version')::int = c.version
  order by e.seq desc
  limit 1;
  if expected is null or c.version > expected or told is distinct from c.hash then
    return 'HISTORY';
  end if;
  last_event := convert_from(c.body, 'UTF8')::jsonb -> 'lastEvent';
  if jsonb_typeof(last_event) = 'object' and not exists (
      select from flux.run_events e
      where e.agency_id = c.agency_id and e.run_id = c.run_id and e.seq = (last_event ->> 'seq')::bigint
        and e.event_id = (last_event ->> 'id')::uuid) then
    return 'LAST_EVENT';
  end if;
  return null;
end
$$;
comment on function flux.checkpoint_problem(flux.checkpoints) is
  'What is wrong with a stored checkpoint: DIGEST, PLACE, CHAIN, HISTORY or LAST_EVENT; null when nothing is.';

create or replace function flux.save_checkpoint(
  p_run_id uuid, p_partition_no int, p_version int, p_epoch int, p_status text, p_step text, p_body bytea, p_hash bytea,
  p_expires_at timestamptz default null
) returns uuid
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  row flux.checkpoints;
  expected int;
begin
  row.agency_id := flux.current_agency();
  row.run_id := p_run_id;
  row.partition_no := p_partition_no;
  row.version := p_version;
  row.checkpoint_id := flux.uuid_v7();
  row.epoch := p_epoch;
  row.status := p_status;
  row.step := p_step;
  row.body := p_body;
  row.hash := p_hash;
  row.created_at := clock_timestamp();
  row.expires_at := p_expires_at;
  if p_version > 1 then
    select c.hash into row.previous_hash from flux.checkpoints c
    where c.agency_id = row.agency_id and c.run_id = p_run_id and c.partition_no = p_partition_no
      and c.version = p_version - 1;
    if not found then
      raise exception 'checkpoint % of partition % has no predecessor', p_version, p_partition_no using errcode = 'FX001';
    end if;
  end if;
  if not flux.checkpoint_intact(row) then
    raise exception 'checkpoint % of partition % does not match its SHA-256 or its place', p_version, p_partition_no
      using errcode = 'FX001';
  end if;
  insert into flux.checkpoints select row.*;
  -- Only now, so that a batch that has happened before is told as what it is, a unique violation.
  expected := flux.expected_checkpoint(p_run_id, p_partition_no);
  if expected is not null and expected <> p_version - 1 then
    raise exception 'checkpoint % of partition % does not follow checkpoint %, the last of its run''s history', p_version,
      p_partition_no, expected using errcode = 'FX001';
  end if;
  return row.checkpoint_id;
end
$$;

create or replace function flux.load_checkpoint(p_run_id uuid, p_partition_no int)
returns table (
  version int, checkpoint_id uuid, epoch int, status text, step text, body bytea, hash bytea, corrupted int[]
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  candidate flux.checkpoints;
  bad int[] := '{}';
  expected int := flux.expected_checkpoint(p_run_id, p_partition_no);
begin
  for candidate in
    select c.* from flux.checkpoints c
    where c.agency_id = (select flux.current_agency()) and c.run_id = p_run_id and c.partition_no = p_partition_no
    order by c.version desc
  loop
    -- What the history saved and the table has not is lost, and as good as corrupted.
    bad := bad || array(select v from generate_series(coalesce(bad[cardinality(bad)] - 1, expected), candidate.version + 1, -1) v);
    if flux.checkpoint_problem(candidate) is null then
      return query select candidate.version, candidate.checkpoint_id, candidate.epoch, candidate.status,
        candidate.step, candidate.body, candidate.hash, bad;
      return;
    end if;
    bad := bad || candidate.version;
  end loop;
  if cardinality(bad) > 0 or expected > 0 then
    raise exception 'every checkpoint of partition % is corrupted or lost (versions % of %)', p_partition_no, bad, expected
      using errcode = 'FX001';
  end if;
end
$$;
comment on function flux.load_checkpoint(uuid, int) is
  'The newest version that verifies, with the newer corrupted or lost ones passed over; no row when none was ever saved; FX001 when none verifies.';

create or replace function flux.validate_checkpoint_integrity(p_checkpoint_id uuid) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  candidate flux.checkpoints;
begin
  select c.* into candidate from flux.checkpoints c
  where c.agency_id = (select flux.current_agency()) and c.checkpoint_id = p_checkpoint_id;
  if not found then
    return null;
  end if;
  return case when flux.checkpoint_problem(candidate) is null then 'VERIFIED' else 'CORRUPTED' end;
end
$$;

grant execute on function flux.expected_checkpoint(uuid, int), flux.checkpoint_problem(flux.checkpoints) to flux_api;

-- A function of its own beside grant_agency_login, which migrations replace as a whole.
create function flux.grant_agency_runs(p_rw name) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('grant execute on function flux.expected_checkpoint(uuid, int), flux.checkpoint_problem(flux.checkpoints)
    to %I', p_rw);
end
$$;
comment on function flux.grant_agency_runs(name) is 'Grants an agency''s worker login what stages, reprocessing and the checking of checkpoints need.';
