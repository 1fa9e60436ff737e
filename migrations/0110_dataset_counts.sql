-- What: how many records of a load later merges have replaced in its dataset.
-- Why: a dataset's number of records was known only by counting its table; the loads' own counts say too much once a merge has
--   replaced some of them.
-- Locks: a short exclusive lock on flux.loads; a constant default rewrites nothing.
-- Old code: works on; merges of its own are not counted.
alter table flux.loads add column replaced_count bigint not null default 0 check (replaced_count >= 0);
comment on column flux.loads.replaced_count is 'Records that merges of later loads have replaced. What is left of a published load is record_count - replaced_count.';
