-- What: the functions that must see every agency: claim, heartbeat, rescue, and the queue's depth.
-- Why definer: flux_worker may not read a tenant's table; these four say exactly what crosses.
-- Locks: new objects only.

grant select, update on flux.run_partitions to flux_definer;
grant select on flux.agencies to flux_definer;
create policy definer_claims on flux.run_partitions to flux_definer using (true) with check (true);
create policy definer_reads on flux.agencies for select to flux_definer using (true);

set local role flux_definer;

-- An abandoned partition first: its run has waited for a whole lease already, and `takings` bounds how often one comes back.
-- Then the agency with the fewest executing: one agency's flood must not starve another. The CTE is a fence: without it the
-- planner may run the limited subquery again and lock more rows than asked. A partition whose late holder still has a
-- transaction open is locked `for key share` and therefore skipped until that backend is gone.
create function flux.claim_partition(p_worker text, p_lease_ms int)
returns table (
  agency_id text, run_id uuid, partition_no int, kind text, stage text, epoch int, takings int, taken_over boolean,
  rw_role name
)
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
  with busy as (
    select p.agency_id, count(*) as executing
    from flux.run_partitions p
    where p.status = 'EXECUTING' and p.lease_expires_at >= clock_timestamp()
    group by p.agency_id
  ),
  next as (
    select p.agency_id, p.run_id, p.partition_no, p.status, l.role_name
    from flux.run_partitions p
    join flux.agencies a on a.agency_id = p.agency_id and a.enabled
    -- Joined here and not in the update: an agency without its login would otherwise be picked first, again and again.
    join flux.agency_logins l on l.agency_id = p.agency_id and l.access = 'rw'
    left join busy b on b.agency_id = p.agency_id
    where (p.status = 'AVAILABLE' and p.available_at <= clock_timestamp())
       or (p.status = 'EXECUTING' and p.lease_expires_at < clock_timestamp())
    order by p.status = 'AVAILABLE', coalesce(b.executing, 0), p.priority desc, p.available_at, p.run_id, p.partition_no
    limit 1
    for update of p skip locked
  )
  update flux.run_partitions p
  set status = 'EXECUTING',
      epoch = p.epoch + 1,
      takings = p.takings + 1,
      leased_by = p_worker,
      lease_expires_at = clock_timestamp() + p_lease_ms * interval '1 millisecond',
      holder_pid = null,
      started_at = coalesce(p.started_at, clock_timestamp()),
      updated_at = clock_timestamp()
  from next
  where p.agency_id = next.agency_id and p.run_id = next.run_id and p.partition_no = next.partition_no
  returning p.agency_id, p.run_id, p.partition_no, p.kind, p.stage, p.epoch, p.takings, next.status = 'EXECUTING',
    next.role_name
$$;
comment on function flux.claim_partition(text, int) is
  'Takes one free or abandoned partition: epoch + 1, lease from the database clock. No row when there is no work.';

create function flux.heartbeat(p_agency text, p_run_id uuid, p_partition_no int, p_epoch int, p_lease_ms int)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update flux.run_partitions p
  set lease_expires_at = clock_timestamp() + p_lease_ms * interval '1 millisecond',
      updated_at = clock_timestamp()
  where p.agency_id = p_agency and p.run_id = p_run_id and p.partition_no = p_partition_no
    and p.epoch = p_epoch and p.status = 'EXECUTING' and p.lease_expires_at > clock_timestamp();
  return found;
end
$$;
comment on function flux.heartbeat(text, uuid, int, int, int) is 'Extends a lease that is still ours; false when it is lost, which is final.';

-- A client frozen inside COPY keeps its backend, and no timeout ends that backend (measured on 15 and 18): terminate it.
-- The pid alone could be somebody else's by now, so user and database must agree too.
create function flux.rescue_partitions() returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  holder int;
  ended int := 0;
begin
  -- A loop, not a condition: the planner may evaluate pg_terminate_backend() on every backend before it joins.
  for holder in
    select s.pid
    from flux.run_partitions p
    join flux.agency_logins l on l.agency_id = p.agency_id and l.access = 'rw'
    join pg_stat_activity s on s.pid = p.holder_pid and s.usename = l.role_name and s.datname = current_database()
    where p.status = 'EXECUTING' and p.lease_expires_at < clock_timestamp()
  loop
    begin
      if pg_terminate_backend(holder) then
        ended := ended + 1;
      end if;
    exception when insufficient_privilege then
      -- Installed by an admin who could not grant pg_signal_backend: the server has to notice the dead client itself.
      null;
    end;
  end loop;
  return ended;
end
$$;
comment on function flux.rescue_partitions() is 'Ends the backends that still hold an expired lease; returns how many. A claim can then take the partition.';

create function flux.queue_depth() returns bigint
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select count(*) from flux.run_partitions p where p.status = 'AVAILABLE' and p.available_at <= clock_timestamp()
$$;
comment on function flux.queue_depth() is 'Partitions that a worker could take now, over all agencies.';

grant execute on function flux.claim_partition(text, int), flux.heartbeat(text, uuid, int, int, int),
  flux.rescue_partitions(), flux.queue_depth() to flux_worker;

set local role flux_owner;
revoke create on schema flux from flux_definer;

-- What an agency's own login may do. Called for each agency when it is added, and for all after every migration, so that
-- a new table reaches the agencies that exist.
create function flux.grant_agency_login(p_rw name, p_ro name) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('grant usage on schema flux to %I', p_rw);
  execute format('grant select on flux.agencies, flux.connections, flux.contracts, flux.pipelines to %I', p_rw);
  execute format('grant select, insert, update on flux.run_partitions, flux.step_counts, flux.datasets, flux.loads to %I', p_rw);
  execute format('grant select, insert on flux.run_events, flux.source_objects, flux.checkpoints to %I', p_rw);
  execute format('grant select, insert, delete on flux.rejected_records to %I', p_rw);
  execute format('grant delete on flux.checkpoints to %I', p_rw);
  execute format('grant insert on flux.audit_entries to %I', p_rw);
  execute format('grant select on flux.runs to %I', p_rw);
  execute format('grant update (status, version, last_seq, records_total, bytes_total, started_at, finished_at, updated_at,
    failure_class, failure_code, failure_message) on flux.runs to %I', p_rw);
  execute format('grant execute on function flux.checkpoint_intact(flux.checkpoints),
    flux.save_checkpoint(uuid, int, int, int, text, text, bytea, bytea, timestamptz), flux.load_checkpoint(uuid, int),
    flux.validate_checkpoint_integrity(uuid), flux.cleanup_expired_checkpoints(int) to %I', p_rw);
end
$$;
comment on function flux.grant_agency_login(name, name) is 'Grants an agency''s worker login what it needs in flux; its lake is its own schema.';
