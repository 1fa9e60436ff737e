-- What: the records of datasets that a run joins, kept beside its parts as they stood when it was planned.
-- Why: a dataset goes on changing while a run that joins it is resumed, forked or reprocessed; each of them must see the same records.
-- Locks: a short exclusive lock on flux.run_parts; one scan of it for the check. Old code: works on, and refuses joins as before.

alter table flux.run_parts
  add column reference jsonb,
  add column reference_columns jsonb,
  drop constraint run_parts_record_count_check,
  add constraint run_parts_record_count_check check (record_count >= 1 or (record_count = 0 and reference is not null)),
  add constraint reference_has_columns check ((reference is null) = (reference_columns is null));
comment on column flux.run_parts.reference is
  'Of a joined dataset''s records (CSV with a header, at partition 0): {dataset, loads, classification}; null: the part is a batch''s.';
comment on column flux.run_parts.reference_columns is 'The columns of the reference, in order: [{name, type, scale}].';
