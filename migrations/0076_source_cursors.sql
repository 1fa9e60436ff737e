-- What: up to where a source was read by a cursor column.
-- Why: the next run reads what lies behind it.
-- Locks: access exclusive on source_objects for added columns without default: no rewrite.
-- Old code: writes neither; the next incremental run then reads from the beginning.

alter table flux.source_objects add column cursor_column text;
alter table flux.source_objects add column cursor_value text;
comment on column flux.source_objects.cursor_value is
  'The greatest value of cursor_column that was read, as the source writes it: a number or a time. Both null: everything was read.';
