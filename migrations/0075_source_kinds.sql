-- What: kinds of connections besides files, their secrets, and what a pinned source is called by the system that it came from.
-- Why: sources beyond the machine need credentials, which stand sealed under the agency's records key; and a source that has not
--   changed since it was pinned (ETag) need not be sent again.
-- Locks: access exclusive on connections and source_objects for a check and added columns without default: no rewrite; the check and
--   the index read what is there.
-- Old code: knows no secret and no other kind; a run over one fails with a message that says so.

alter table flux.connections drop constraint connections_kind_check;
alter table flux.connections add constraint connections_kind_check
  check (kind in ('file', 'https', 's3', 'postgres', 'upload'));
alter table flux.connections add column secret bytea;
comment on column flux.connections.secret is
  'Credentials under the agency''s records key, bound to the connection''s name and kind; null: it needs none.';
grant update (secret) on flux.connections to flux_api;

alter table flux.source_objects add column etag text;
alter table flux.source_objects add column connection_version bigint;
comment on column flux.source_objects.etag is
  'The system''s own name for exactly these bytes, by which it is asked whether they changed; null: it has none.';
create index source_objects_known on flux.source_objects (agency_id, connection_name, connection_version, origin, pinned_at)
  where etag is not null;
