-- What: that a rejected record names a partition of its run is proved once a statement, no longer by a foreign key row by row; and the
--   partial index of records that have not landed goes.
-- Why: a batch that refuses a thousand records spent four tenths of their insert on a thousand looks at one row of run_partitions, and a
--   fifth on two indexes of the same three columns: the partial one says of a run what its primary key says.
-- As strong as the key: whoever writes records locks their partitions FOR KEY SHARE until the transaction ends, as the key did, so that a
--   partition which goes meanwhile waits or is waited for; records and partitions keep their names for good (the key allowed a change that
--   broke nothing, and nothing ever made one); a partition that goes is looked for in the records, in the newest snapshot, which is
--   why its transaction must be read committed.
-- Locks: access exclusive on rejected_records and run_partitions, for their catalogue entries alone; nothing is scanned. Old code: works on.

alter table flux.rejected_records drop constraint rejected_records_agency_id_run_id_partition_no_fkey;
drop index flux.rejected_records_open;

-- As whoever writes: what row-level security hides is not there.
create function flux.require_partitions() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  named record;
begin
  for named in select distinct w.agency_id, w.run_id, w.partition_no from written w order by 1, 2, 3 loop
    perform from flux.run_partitions p
    where p.agency_id = named.agency_id and p.run_id = named.run_id and p.partition_no = named.partition_no
    for key share;
    if not found then
      raise exception 'partition % of run % does not exist; its rejected records cannot be kept', named.partition_no, named.run_id
        using errcode = '23503', schema = 'flux', table = 'rejected_records';
    end if;
  end loop;
  return null;
end
$$;
comment on function flux.require_partitions() is 'Refuses rejected records without their partition (23503), and locks it until the transaction ends.';
create trigger require_partitions after insert on flux.rejected_records
  referencing new table as written for each statement execute function flux.require_partitions();

create function flux.refuse_other_name() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception 'a row of %.% keeps its run and partition for good', tg_table_schema, tg_table_name
    using errcode = '23503', schema = tg_table_schema, table = tg_table_name;
end
$$;
comment on function flux.refuse_other_name() is 'Refuses that a row goes over to another run or partition (23503).';
create trigger keep_partition before update of agency_id, run_id, partition_no on flux.rejected_records
  for each row when ((old.agency_id, old.run_id, old.partition_no) is distinct from (new.agency_id, new.run_id, new.partition_no))
  execute function flux.refuse_other_name();
create trigger keep_name before update of agency_id, run_id, partition_no on flux.run_partitions
  for each row when ((old.agency_id, old.run_id, old.partition_no) is distinct from (new.agency_id, new.run_id, new.partition_no))
  execute function flux.refuse_other_name();

-- A look that row-level security narrows proves nothing of other agencies, nor one into an old snapshot of what was committed since.
create function flux.refuse_named_partitions() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  named record;
begin
  if not exists (select from gone) then
    return null;
  end if;
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    raise exception 'partitions go in a transaction that is read committed, not %', current_setting('transaction_isolation')
      using errcode = '25001';
  end if;
  if row_security_active('flux.rejected_records') and exists (
      select from gone g where g.agency_id is distinct from (select flux.current_agency())) then
    raise exception 'partitions of another agency cannot go from this session' using errcode = '42501';
  end if;
  select g.run_id, g.partition_no into named
  from (select distinct agency_id, run_id, partition_no from gone) g
  where exists (
    select from flux.rejected_records j
    where j.agency_id = g.agency_id and j.run_id = g.run_id and j.partition_no = g.partition_no)
  limit 1;
  if found then
    raise exception 'partition % of run % still has rejected records; they go first', named.partition_no, named.run_id
      using errcode = '23503', schema = 'flux', table = 'run_partitions';
  end if;
  return null;
end
$$;
comment on function flux.refuse_named_partitions() is 'Refuses that a partition goes which rejected records still name (23503).';
create trigger refuse_named_partitions after delete on flux.run_partitions
  referencing old table as gone for each statement execute function flux.refuse_named_partitions();
