-- Steps that need all records of a run at once: deduplicate, join, aggregate, and a query of the pipeline's own.
-- Lock: access exclusive on flux.step_counts while the constraint is checked; a row a step, so a short scan.
alter table flux.step_counts drop constraint step_counts_kind_check;
alter table flux.step_counts add constraint step_counts_kind_check
  check (kind in ('read', 'validate', 'row', 'filter', 'deduplicate', 'join', 'aggregate', 'query', 'write'));
