-- What: files that an agency sends to the API, until a run has pinned them, and the parts in which they arrived.
-- Why: not every source can be fetched. An upload that breaks off goes on where it broke off, so what has arrived is kept in parts, each
--   an object of its own, sealed under the agency's records key (the API holds no other).
-- Locks: new objects only.
-- Old code: knows no uploads; their connections fail with a message that says so.

create table flux.uploads (
  agency_id text collate "C" not null references flux.agencies (agency_id),
  upload_id uuid not null default flux.uuid_v7(),
  name text collate "C" not null check (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'),
  status text not null default 'OPEN' check (status in ('OPEN', 'COMPLETE', 'ABANDONED')),
  byte_count bigint not null check (byte_count >= 1),
  received bigint not null default 0,
  sha256 bytea check (length(sha256) = 32),
  created_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, upload_id),
  constraint received_of_all check (received between 0 and byte_count),
  constraint whole_when_complete check ((status = 'COMPLETE') <= (received = byte_count and sha256 is not null))
);
comment on table flux.uploads is
  'Files sent to the API. A name has at most one that is open; its newest complete one is what upload://name means.';
create unique index uploads_open on flux.uploads (agency_id, name) where status = 'OPEN';
create index uploads_complete on flux.uploads (agency_id, name, upload_id) where status = 'COMPLETE';

create table flux.upload_parts (
  agency_id text collate "C" not null,
  upload_id uuid not null,
  first_byte bigint not null check (first_byte >= 0),
  byte_count bigint not null check (byte_count >= 1),
  sha256 bytea not null check (length(sha256) = 32),
  address text not null,
  key_version int,
  primary key (agency_id, upload_id, first_byte),
  foreign key (agency_id, upload_id) references flux.uploads (agency_id, upload_id) on delete cascade
);
comment on table flux.upload_parts is
  'What one request of an upload brought, as an object. key_version: of the agency''s records key; null: plain.';
create index upload_parts_address on flux.upload_parts (agency_id, address);

do $$
declare
  tenant text;
begin
  foreach tenant in array array['uploads', 'upload_parts'] loop
    execute format('alter table flux.%I enable row level security', tenant);
    execute format('alter table flux.%I force row level security', tenant);
    execute format('create policy own_agency on flux.%I using (agency_id = (select flux.current_agency()))
      with check (agency_id = (select flux.current_agency()))', tenant);
  end loop;
end
$$;
grant select, insert on flux.uploads, flux.upload_parts to flux_api;
grant update (status, received, sha256, updated_at) on flux.uploads to flux_api;
grant select, delete on flux.uploads, flux.upload_parts to flux_definer;

grant create on schema flux to flux_definer;
set local role flux_definer;

create function flux.expire_uploads(p_limit int) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  agency text := flux.current_agency();
  expired uuid[];
begin
  if exists (select from flux.agencies a where a.agency_id = agency and a.legal_hold_since is not null) then
    return 0;
  end if;
  select array_agg(u.upload_id) into expired from (
    select upload_id from flux.uploads
    where agency_id = agency
      and updated_at < clock_timestamp() - case status when 'COMPLETE' then interval '7 days' else interval '1 day' end
    order by updated_at
    limit p_limit
  ) u;
  if expired is null then
    return 0;
  end if;
  insert into flux.expired_objects (agency_id, address)
  select distinct agency, p.address from flux.upload_parts p
  where p.agency_id = agency and p.upload_id = any (expired)
  on conflict do nothing;
  delete from flux.upload_parts p where p.agency_id = agency and p.upload_id = any (expired);
  delete from flux.uploads u where u.agency_id = agency and u.upload_id = any (expired);
  return cardinality(expired);
end
$$;
comment on function flux.expire_uploads(int) is
  'Forgets up to p_limit uploads of the session''s agency: complete ones after seven days, others a day after the last byte; none under a legal hold.';
grant execute on function flux.expire_uploads(int) to flux_owner with grant option;

set local role flux_owner;
revoke create on schema flux from flux_definer;

create function flux.grant_agency_uploads(p_rw name) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('grant select on flux.uploads, flux.upload_parts to %I', p_rw);
  execute format('grant execute on function flux.expire_uploads(int) to %I', p_rw);
end
$$;
comment on function flux.grant_agency_uploads(name) is 'Grants an agency''s worker login the reading of its uploads, and their end.';
