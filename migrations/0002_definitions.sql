-- What: connections, contracts, pipelines. Contracts and pipelines are immutable versions.
-- Locks: new objects only.

create table flux.connections (
  agency_id text collate "C" not null references flux.agencies (agency_id),
  name text collate "C" not null check (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  kind text not null check (kind in ('file')),
  title text,
  config jsonb not null,
  version bigint not null default 1,
  created_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, name)
);
comment on table flux.connections is 'Named access to a source; a pipeline reaches nothing else.';

create table flux.contracts (
  agency_id text collate "C" not null references flux.agencies (agency_id),
  name text collate "C" not null check (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  version int not null check (version >= 1),
  document text not null,
  sha256 bytea not null check (length(sha256) = 32),
  created_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, name, version)
);
comment on table flux.contracts is 'JSON Schema 2020-12, immutable versions. document is RFC 8785 canonical text, sha256 its digest.';

create table flux.pipelines (
  agency_id text collate "C" not null references flux.agencies (agency_id),
  name text collate "C" not null check (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  version int not null check (version >= 1),
  title text not null,
  content_type text not null check (content_type in ('images', 'documents', 'text', 'mixed')),
  use_case text not null,
  classification smallint not null check (classification between 0 and 5),
  contract_name text collate "C",
  contract_version int,
  connection_name text collate "C" not null,
  definition text not null,
  sha256 bytea not null check (length(sha256) = 32),
  enabled boolean not null default true,
  created_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, name, version),
  foreign key (agency_id, contract_name, contract_version) references flux.contracts (agency_id, name, version),
  foreign key (agency_id, connection_name) references flux.connections (agency_id, name)
);
comment on table flux.pipelines is 'Pipeline definitions, immutable versions; the highest version is the current one.';
create index pipelines_purpose on flux.pipelines (agency_id, content_type, use_case);

alter table flux.connections enable row level security;
alter table flux.connections force row level security;
alter table flux.contracts enable row level security;
alter table flux.contracts force row level security;
alter table flux.pipelines enable row level security;
alter table flux.pipelines force row level security;

create policy own_agency on flux.connections
  using (agency_id = (select flux.current_agency()))
  with check (agency_id = (select flux.current_agency()));
create policy own_agency on flux.contracts
  using (agency_id = (select flux.current_agency()))
  with check (agency_id = (select flux.current_agency()));
create policy own_agency on flux.pipelines
  using (agency_id = (select flux.current_agency()))
  with check (agency_id = (select flux.current_agency()));
create policy cleared on flux.pipelines as restrictive
  using (classification <= (select flux.current_clearance()))
  with check (classification <= (select flux.current_clearance()));

grant select, insert on flux.connections, flux.contracts, flux.pipelines to flux_api;
grant update (title, config, version, updated_at) on flux.connections to flux_api;
