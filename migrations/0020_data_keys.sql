-- What: an agency's data keys, wrapped; where sealed run payloads and rejected records stand; which key sealed a pinned object.
-- Why: what an agency's runs leave at rest (pinned objects, payloads, refused records) is encrypted under keys of the agency's own,
--   so that destroying them destroys it all, whatever backups hold.
-- Locks: access exclusive on runs, rejected_records and source_objects for added columns without default: no rewrite.
-- Old code: writes and reads plain values as before; it shows sealed ones as empty.

create table flux.data_keys (
  agency_id text collate "C" not null references flux.agencies (agency_id),
  purpose text not null check (purpose in ('objects', 'records')),
  version int not null check (version >= 1),
  kek_id text,
  wrapped bytea,
  created_at timestamptz not null default clock_timestamp(),
  destroyed_at timestamptz,
  primary key (agency_id, purpose, version),
  constraint wrapped_until_destroyed check (
    (wrapped is null) = (destroyed_at is not null) and (kek_id is null) = (wrapped is null))
);
comment on table flux.data_keys is
  'Data keys (AES-256), each wrapped by the key encryption key that kek_id names. The highest version seals; a destroyed one leaves its row.';

alter table flux.data_keys enable row level security;
alter table flux.data_keys force row level security;
create policy own_agency on flux.data_keys
  using (agency_id = (select flux.current_agency()))
  with check (agency_id = (select flux.current_agency()));
-- The API shows payloads and refused records; it has no business with the bytes of pinned objects.
create policy records_only on flux.data_keys as restrictive to flux_api
  using (purpose = 'records') with check (purpose = 'records');
grant select on flux.data_keys to flux_api;

alter table flux.runs add column payload_sealed bytea;
comment on column flux.runs.payload_sealed is
  'The payload under the agency''s records key; payload then holds only what is no content (dry_run).';
alter table flux.rejected_records add column sealed bytea;
comment on column flux.rejected_records.sealed is
  'The record and its reasons under the agency''s records key; raw is then null and reasons empty.';
alter table flux.source_objects add column key_version int;
comment on column flux.source_objects.key_version is
  'The version of the objects key under which it was pinned; null: plain. The file itself says the present one.';

-- A function of its own beside grant_agency_login, which migrations replace as a whole. Workers' logins read, operators write.
create function flux.grant_agency_keys(p_rw name) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('grant select on flux.data_keys to %I', p_rw);
end
$$;
comment on function flux.grant_agency_keys(name) is 'Grants an agency''s worker login its own wrapped data keys.';
