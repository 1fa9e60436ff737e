-- What: the database schema, time-ordered ids, the tenant context, agencies.
-- Why first: every later table names flux.current_agency() in its policies.
-- Locks: none that matter (new objects only). Old code: there is none before this file.
--
-- The runner has created the roles (src/db/roles.ts), runs each file in one transaction as flux_owner, and
-- writes the installation's own role prefix wherever flux_owner, flux_api, flux_worker, flux_sealer or
-- flux_definer stands here.

create schema flux;
comment on schema flux is 'Flux: tenants, definitions, runs and their evidence.';

-- A new function is executable by PUBLIC unless its owner's defaults say otherwise; deny first, grant by name.
alter default privileges for role flux_owner revoke execute on functions from public;
grant usage on schema flux to flux_api, flux_worker, flux_sealer;
grant usage, create on schema flux to flux_definer;

-- RFC 9562 section 5.7. PostgreSQL 18 has uuidv7(), 15 to 17 do not; time order lets retention drop ranges.
create function flux.uuid_v7() returns uuid
language sql volatile parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select encode(
    set_bit(
      set_bit(
        overlay(
          uuid_send(gen_random_uuid())
          placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
          from 1 for 6),
        52, 1),
      53, 1),
    'hex')::uuid
$$;
comment on function flux.uuid_v7() is 'A version 7 UUID of the current millisecond.';
grant execute on function flux.uuid_v7() to public;

create table flux.migrations (
  version int primary key,
  name text not null,
  sha256 bytea not null,
  applied_at timestamptz not null default clock_timestamp()
);
comment on table flux.migrations is 'Applied migrations; a changed file is refused by its hash.';
grant select on flux.migrations to flux_api, flux_worker, flux_sealer;

create table flux.installation (
  only_row boolean primary key default true check (only_row),
  role_prefix text not null,
  created_at timestamptz not null default clock_timestamp()
);
comment on table flux.installation is 'What this database calls its roles; a server may hold several installations.';
grant select on flux.installation to flux_api, flux_worker, flux_sealer;

-- Keys of the context seal: HMAC-SHA-256 with both pads precomputed (RFC 2104), so that a check is two sha256() calls.
create table flux.context_keys (
  key_id text primary key,
  inner_pad bytea not null check (length(inner_pad) = 64),
  outer_pad bytea not null check (length(outer_pad) = 64)
);
comment on table flux.context_keys is 'Seal keys; readable by flux_definer alone.';
grant select on flux.context_keys to flux_definer;

create table flux.agencies (
  agency_id text collate "C" primary key check (agency_id ~ '^[a-z0-9][a-z0-9-]{1,62}[a-z0-9]$'),
  name text not null,
  abbreviation text not null,
  supported_content_types text[] not null,
  supported_use_cases text[] not null,
  data_classification smallint not null check (data_classification between 0 and 5),
  retention_days int not null check (retention_days >= 0),
  retention_floor_days int not null default 0 check (retention_floor_days >= 0),
  enabled boolean not null,
  version bigint not null default 1,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp()
);
comment on table flux.agencies is 'Tenants. agency_id is the slug and never changes.';
comment on column flux.agencies.data_classification is 'Highest classification held: 0 U, 1 CUI, 2 C, 3 S, 4 TS, 5 SCI.';

-- Which login is which agency. session_user is the proof of a worker's session: SQL cannot change it.
create table flux.agency_logins (
  agency_id text collate "C" not null references flux.agencies (agency_id),
  role_name name not null,
  access text not null check (access in ('rw', 'ro')),
  primary key (agency_id, access)
);
create unique index agency_logins_role on flux.agency_logins (role_name);
comment on table flux.agency_logins is 'Agency logins; readable by flux_definer alone, hence keyed by role name too.';
grant select on flux.agency_logins to flux_definer;

alter table flux.agencies enable row level security;
alter table flux.agencies force row level security;
alter table flux.agency_logins enable row level security;
alter table flux.agency_logins force row level security;
create policy definer_reads on flux.agency_logins for select to flux_definer using (true);
-- Forced row-level security binds the owner too; an admin without superuser works as the owner when it adds agencies.
create policy owner_provisions on flux.agency_logins to flux_owner using (true) with check (true);
create policy owner_reads on flux.agencies for select to flux_owner using (true);

set local role flux_definer;
alter default privileges for role flux_definer revoke execute on functions from public;

-- The sealed context is `agency|role|clearance|expiry|key|mac`: expiry in seconds since 1970, clearance 0 to 5, mac the
-- lower-case hex HMAC-SHA-256 of everything before the last bar. No part can hold a bar, so the text is unambiguous.
create function flux.verified_context() returns text[]
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  part text[] := string_to_array(current_setting('flux.context', true), '|');
  pads flux.context_keys;
begin
  if coalesce(cardinality(part), 0) <> 6 then
    raise exception 'no tenant context' using errcode = '42501',
      hint = 'Open a transaction through inTenant (src/db/transaction.ts).';
  end if;
  select * into pads from flux.context_keys where key_id = part[5];
  if not found or encode(sha256(pads.outer_pad || sha256(pads.inner_pad ||
      convert_to(array_to_string(part[1:5], '|'), 'UTF8'))), 'hex') <> part[6] then
    raise exception 'tenant context forged' using errcode = '42501';
  end if;
  if part[4]::bigint < extract(epoch from clock_timestamp()) then
    raise exception 'tenant context expired' using errcode = '42501';
  end if;
  return part;
end
$$;
comment on function flux.verified_context() is
  'The parts of the sealed setting flux.context; 42501 when it is absent, forged or expired.';

create function flux.current_agency() returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  own text;
begin
  select agency_id into own from flux.agency_logins where role_name = session_user;
  if found then
    return own;
  end if;
  return (flux.verified_context())[1];
end
$$;
comment on function flux.current_agency() is
  'The agency of this session: by login for an agency role, by seal otherwise; 42501 without either.';

create function flux.current_clearance() returns smallint
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform from flux.agency_logins where role_name = session_user;
  if found then
    return 5;
  end if;
  return (flux.verified_context())[3]::smallint;
end
$$;
comment on function flux.current_clearance() is 'Highest classification the session may see; an agency''s own login sees all.';

-- verified_context stays callable by its owner alone: callers need the answers, not the parts.
grant execute on function flux.current_agency(), flux.current_clearance() to public;

set local role flux_owner;

create policy own_agency on flux.agencies
  using (agency_id = (select flux.current_agency()))
  with check (agency_id = (select flux.current_agency()));
grant select on flux.agencies to flux_api;
grant update (name, abbreviation, retention_days, version, updated_at) on flux.agencies to flux_api;
