-- What: save_checkpoint() looks for a checkpoint's predecessor in the order of the primary key, and an event's default id is written out
-- in its column.
-- Why: the predecessor was asked for by equality alone. On a database whose tables were never analysed the planner saw no difference
-- between the primary key and the index of ids, took the second, and each save read all checkpoints of its agency: 400 of them by the
-- 400th. A default that calls uuid_v7() cannot be inlined, because its search_path is fixed: half of what an event's row cost.
-- Locks: ACCESS EXCLUSIVE on run_events for a change of its catalogue entry. Old code: works on.

-- As flux.uuid_v7(). What a default means is resolved when it is set, so that no search_path enters it.
alter table flux.run_events alter column event_id set default
  encode(
    set_bit(
      set_bit(
        overlay(
          uuid_send(gen_random_uuid())
          placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
          from 1 for 6),
        52, 1),
      53, 1),
    'hex')::uuid;

create or replace function flux.save_checkpoint(
  p_run_id uuid, p_partition_no int, p_version int, p_epoch int, p_status text, p_step text, p_body bytea, p_hash bytea,
  p_expires_at timestamptz default null
) returns uuid
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  row flux.checkpoints;
  before int;
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
    -- The order leaves the planner no other index than the primary key's.
    select c.version, c.hash into before, row.previous_hash from flux.checkpoints c
    where c.agency_id = row.agency_id and c.run_id = p_run_id and c.partition_no = p_partition_no
      and c.version < p_version
    order by c.version desc
    limit 1;
    if before is distinct from p_version - 1 then
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
