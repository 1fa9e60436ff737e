-- What: which subscriptions are open in which API process, and which tokens are refused before their time.
-- Why: an agency's admin sees who listens and ends it; every API process must learn of it from the one truth that all share.
-- Locks: new objects only. Old code: works on, and neither reports its subscriptions nor honours a revocation.

create table flux.live_subscriptions (
  agency_id text collate "C" not null,
  subscription_id uuid not null,
  server_id uuid not null,
  subject text not null,
  issuer text not null,
  role text not null,
  token_id text not null,
  token_expires_at timestamptz not null,
  transport text not null check (transport in ('websocket', 'sse')),
  field text not null,
  operation_name text,
  ip text not null,
  user_agent text,
  request_id text not null,
  opened_at timestamptz not null,
  seen_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, subscription_id)
);
comment on table flux.live_subscriptions is
  'Open subscriptions, as each API process reports its own. One that is not seen for a while died with its process.';
create index live_subscriptions_server on flux.live_subscriptions (agency_id, server_id);

-- No update, no delete: what was revoked stays on record, and nothing that the API can be talked into takes it back.
create table flux.revocations (
  agency_id text collate "C" not null references flux.agencies (agency_id),
  revocation_id uuid not null default flux.uuid_v7(),
  subject text,
  token_ids text[],
  subscription_count int not null check (subscription_count >= 0),
  reason text not null check (reason <> ''),
  revoked_by text not null,
  revoked_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, revocation_id),
  check ((subject is null) <> (token_ids is null))
);
comment on table flux.revocations is
  'Tokens refused before their time: those named, or all that a subject was issued up to revoked_at.';

alter table flux.live_subscriptions enable row level security;
alter table flux.live_subscriptions force row level security;
alter table flux.revocations enable row level security;
alter table flux.revocations force row level security;
create policy own_agency on flux.live_subscriptions
  using (agency_id = (select flux.current_agency()))
  with check (agency_id = (select flux.current_agency()));
create policy own_agency on flux.revocations
  using (agency_id = (select flux.current_agency()))
  with check (agency_id = (select flux.current_agency()));
grant select, insert, delete on flux.live_subscriptions to flux_api;
grant update (role, token_id, token_expires_at, seen_at) on flux.live_subscriptions to flux_api;
grant select, insert on flux.revocations to flux_api;
