-- What: the agency's feed of changed runs: a number for each run's newest change, given after its commit, and the counter.
-- Why: runs change in many transactions at once. A number taken inside of them would become visible out of order, and a reader that
-- remembers the highest it saw would miss what commits later. So a change only marks its run (null), and whoever reads the feed
-- numbers the marked runs first, one reader at a time. A run that changes again moves to the feed's end: the newest state is
-- never lost, older ones are, and the feed needs no retention of its own.
-- Locks: a short exclusive lock on runs; the table is not rewritten. Old code: works on, its changes are numbered by new code.

alter table flux.runs add column feed_seq bigint default 0;
-- Runs that were there before the feed are behind its beginning; new ones begin as changed.
alter table flux.runs alter column feed_seq set default null;
comment on column flux.runs.feed_seq is 'Place of the newest change in the agency''s feed; null until it is numbered, 0 before the feed began.';
create unique index runs_feed on flux.runs (agency_id, feed_seq) where feed_seq > 0;
create index runs_unnumbered on flux.runs (agency_id, run_id) where feed_seq is null;

create table flux.run_feeds (
  agency_id text collate "C" not null references flux.agencies (agency_id),
  last_seq bigint not null default 0,
  primary key (agency_id)
);
comment on table flux.run_feeds is 'Each agency''s counter of its feed of changed runs. Its row lock makes one numbering follow the other.';
alter table flux.run_feeds enable row level security;
alter table flux.run_feeds force row level security;
create policy own_agency on flux.run_feeds using (agency_id = (select flux.current_agency()))
  with check (agency_id = (select flux.current_agency()));

create function flux.mark_run_changed() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  new.feed_seq := null;
  return new;
end
$$;
comment on function flux.mark_run_changed() is 'Puts a run whose state changed at the end of its agency''s feed, once that is numbered.';
create trigger mark_run_changed before update on flux.runs
  for each row
  when (old.status is distinct from new.status
    or old.attempt is distinct from new.attempt
    or old.priority is distinct from new.priority
    or old.records_total is distinct from new.records_total
    or old.cancel_deadline is distinct from new.cancel_deadline)
  execute function flux.mark_run_changed();

grant select, insert, update on flux.run_feeds to flux_api;
grant update (feed_seq) on flux.runs to flux_api;
