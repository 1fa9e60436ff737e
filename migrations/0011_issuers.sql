-- What: which issuers of tokens are trusted, each for the agencies that it may speak for.
-- Why by agency: a row is the permission itself. Whoever reads under one agency's context learns of no other agency and of no
-- other's issuer, and an issuer that has no row with an agency cannot speak for it.
-- Locks: new objects only. Old code: works on, and trusts FLUX_ISSUERS alone.

create table flux.issuers (
  agency_id text collate "C" not null references flux.agencies (agency_id),
  issuer text collate "C" not null check (length(issuer) between 1 and 500),
  jwks_uri text,
  jwks jsonb,
  audience text check (audience <> ''),
  added_by text not null,
  added_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, issuer),
  check ((jwks_uri is null) <> (jwks is null))
);
comment on table flux.issuers is 'Issuers of tokens by the agency that they may speak for; written by the platform operator alone.';
comment on column flux.issuers.audience is 'The aud of its tokens; null: FLUX_AUDIENCE.';

alter table flux.issuers enable row level security;
alter table flux.issuers force row level security;
create policy own_agency on flux.issuers
  using (agency_id = (select flux.current_agency()))
  with check (agency_id = (select flux.current_agency()));
-- Forced row-level security binds the owner too; an admin without superuser works as the owner when it lists them.
create policy owner_reads on flux.issuers for select to flux_owner using (true);
grant select on flux.issuers to flux_api;
