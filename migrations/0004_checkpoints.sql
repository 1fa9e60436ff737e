-- What: checkpoints and the four functions through which all code reaches them.
-- Locks: new objects only.

create table flux.checkpoints (
  agency_id text collate "C" not null,
  run_id uuid not null,
  partition_no int not null,
  version int not null check (version >= 1),
  checkpoint_id uuid not null default flux.uuid_v7(),
  epoch int not null,
  status text not null check (status in ('PENDING', 'IN_PROGRESS', 'COMPLETED', 'FAILED')),
  step text not null,
  body bytea not null,
  hash bytea not null check (length(hash) = 32),
  previous_hash bytea check (length(previous_hash) = 32),
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz,
  primary key (agency_id, run_id, partition_no, version),
  foreign key (agency_id, run_id, partition_no) references flux.run_partitions (agency_id, run_id, partition_no)
);
create unique index checkpoints_id on flux.checkpoints (agency_id, checkpoint_id);
create index checkpoints_expiry on flux.checkpoints (agency_id, expires_at) where expires_at is not null;
comment on table flux.checkpoints is
  'Versioned positions of a partition; version is the batch number, so that the key makes a batch happen once. body is RFC 8785 canonical JSON, hash its SHA-256, previous_hash the hash of version - 1.';

alter table flux.checkpoints enable row level security;
alter table flux.checkpoints force row level security;
create policy own_agency on flux.checkpoints
  using (agency_id = (select flux.current_agency()))
  with check (agency_id = (select flux.current_agency()));

-- The body repeats what identifies it: bytes copied from another run, partition, version or agency hash well and still
-- do not match their row. SQLSTATE FX001 is CHECKPOINT_CORRUPTED in src/errors.ts.
create function flux.checkpoint_intact(c flux.checkpoints) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  told jsonb;
begin
  if sha256(c.body) <> c.hash then
    return false;
  end if;
  told := convert_from(c.body, 'UTF8')::jsonb;
  -- `is not distinct from`: what the body does not say is not equal, and never unknown.
  return told ->> 'agency' is not distinct from c.agency_id
    and told ->> 'run' is not distinct from c.run_id::text
    and (told ->> 'partition')::int is not distinct from c.partition_no
    and (told ->> 'version')::int is not distinct from c.version
    and (told ->> 'epoch')::int is not distinct from c.epoch
    and told ->> 'previousHash' is not distinct from encode(c.previous_hash, 'hex');
exception
  when data_exception or invalid_text_representation or character_not_in_repertoire then
    return false;
end
$$;
comment on function flux.checkpoint_intact(flux.checkpoints) is
  'Whether the stored bytes have the stored digest and say of themselves what their row says.';

create function flux.save_checkpoint(
  p_run_id uuid, p_partition_no int, p_version int, p_epoch int, p_status text, p_step text, p_body bytea, p_hash bytea,
  p_expires_at timestamptz default null
) returns uuid
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  row flux.checkpoints;
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
  return row.checkpoint_id;
end
$$;
comment on function flux.save_checkpoint(uuid, int, int, int, text, text, bytea, bytea, timestamptz) is
  'Stores a version after verifying digest, place and chain (FX001 otherwise); 23505 when the version exists. Runs in the batch''s transaction.';

create function flux.load_checkpoint(p_run_id uuid, p_partition_no int)
returns table (
  version int, checkpoint_id uuid, epoch int, status text, step text, body bytea, hash bytea, corrupted int[]
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  candidate flux.checkpoints;
  bad int[] := '{}';
begin
  for candidate in
    select c.* from flux.checkpoints c
    where c.agency_id = (select flux.current_agency()) and c.run_id = p_run_id and c.partition_no = p_partition_no
    order by c.version desc
  loop
    -- A version whose link to its predecessor is broken proves nothing about what came before it.
    if flux.checkpoint_intact(candidate) and (candidate.version = 1 or exists (
        select from flux.checkpoints p
        where p.agency_id = candidate.agency_id and p.run_id = candidate.run_id
          and p.partition_no = candidate.partition_no and p.version = candidate.version - 1
          and p.hash = candidate.previous_hash)) then
      return query select candidate.version, candidate.checkpoint_id, candidate.epoch, candidate.status,
        candidate.step, candidate.body, candidate.hash, bad;
      return;
    end if;
    bad := bad || candidate.version;
  end loop;
  if cardinality(bad) > 0 then
    raise exception 'every checkpoint of partition % is corrupted (versions %)', p_partition_no, bad using errcode = 'FX001';
  end if;
end
$$;
comment on function flux.load_checkpoint(uuid, int) is
  'The newest intact version, with the newer corrupted ones passed over; no row when none was ever saved; FX001 when all are corrupted.';

create function flux.validate_checkpoint_integrity(p_checkpoint_id uuid) returns text
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
  if flux.checkpoint_intact(candidate) and (candidate.version = 1 or exists (
      select from flux.checkpoints p
      where p.agency_id = candidate.agency_id and p.run_id = candidate.run_id
        and p.partition_no = candidate.partition_no and p.version = candidate.version - 1
        and p.hash = candidate.previous_hash)) then
    return 'VERIFIED';
  end if;
  return 'CORRUPTED';
end
$$;
comment on function flux.validate_checkpoint_integrity(uuid) is 'VERIFIED or CORRUPTED, recomputed from the stored bytes; null when there is no such checkpoint.';

create function flux.cleanup_expired_checkpoints(p_limit int default 1000) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  removed bigint;
begin
  -- Whole partitions of finished runs only: a chain with its head cut off would read as corrupted.
  with expired as (
    select c.agency_id, c.run_id, c.partition_no
    from flux.checkpoints c
    join flux.runs r on r.agency_id = c.agency_id and r.run_id = c.run_id
    where c.agency_id = (select flux.current_agency())
      and r.status in ('COMPLETED', 'FAILED', 'CANCELLED')
    group by c.agency_id, c.run_id, c.partition_no
    having bool_and(c.expires_at is not null and c.expires_at <= clock_timestamp())
    order by c.run_id
    limit p_limit
  )
  delete from flux.checkpoints c using expired e
  where c.agency_id = e.agency_id and c.run_id = e.run_id and c.partition_no = e.partition_no;
  get diagnostics removed = row_count;
  return removed;
end
$$;
comment on function flux.cleanup_expired_checkpoints(int) is
  'Removes the checkpoints of up to p_limit partitions of finished runs whose every version has expired; returns the rows removed.';

grant select on flux.checkpoints to flux_api;
grant execute on function flux.checkpoint_intact(flux.checkpoints), flux.load_checkpoint(uuid, int),
  flux.validate_checkpoint_integrity(uuid) to flux_api;
