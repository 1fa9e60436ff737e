-- What: the tamper-evident audit log: an inbox, and per agency an RFC 6962 Merkle log of sealed entries with signed checkpoints.
-- Why: entries that anybody may still change prove nothing. One sealer numbers, hashes and signs them; its key is not here.
-- Locks: replaces flux.audit_entries (ACCESS EXCLUSIVE, brief). Old code: writes entries in ways that no longer exist, so it
-- must stop before this file. The entries there are move into the inbox and are sealed like new ones.

alter table flux.audit_entries no force row level security;
alter table flux.audit_entries rename to audit_entries_before;
alter table flux.audit_entries_before drop constraint audit_entries_pkey;

create table flux.audit_inbox (
  agency_id text collate "C" not null,
  entry_id uuid not null,
  at timestamptz not null,
  body bytea not null,
  primary key (agency_id, entry_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
comment on table flux.audit_inbox is 'Entries that are committed and not sealed yet. Written by flux.append_audit alone, emptied by flux.seal_audit alone.';
create index audit_inbox_order on flux.audit_inbox (at, entry_id);

insert into flux.audit_inbox (agency_id, entry_id, at, body)
select agency_id, entry_id, at, body from flux.audit_entries_before;
drop table flux.audit_entries_before;

create table flux.audit_entries (
  agency_id text collate "C" not null,
  seq bigint not null check (seq > 0),
  entry_id uuid not null,
  at timestamptz not null,
  actor text not null,
  role text not null,
  action text not null,
  resource_type text not null,
  resource_id text,
  success boolean not null,
  error_code text,
  body bytea not null,
  leaf_hash bytea not null check (length(leaf_hash) = 32),
  sealed_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, seq)
);
comment on table flux.audit_entries is 'Who did what, sealed. body is the entry''s RFC 8785 canonical bytes; the other columns repeat it, for filters.';
comment on column flux.audit_entries.seq is 'Gapless within the agency, from 1, given when the entry is sealed: leaf seq - 1 of its Merkle tree.';
comment on column flux.audit_entries.leaf_hash is 'SHA-256(0x00 || body), RFC 6962 section 2.1.';
create index audit_entries_resource on flux.audit_entries (agency_id, resource_id, seq);

create table flux.audit_heads (
  agency_id text collate "C" primary key references flux.agencies (agency_id),
  size bigint not null check (size > 0),
  peaks bytea not null check (length(peaks) % 32 = 0),
  pruned_through bigint not null default 0 check (pruned_through between 0 and size)
);
comment on table flux.audit_heads is 'Each agency''s tree: its size, and the roots of its perfect subtrees from left to right (compact range).';
comment on column flux.audit_heads.pruned_through is 'Entries up to here were removed by retention; their leaf hashes stay in the tiles.';

create table flux.audit_tiles (
  agency_id text collate "C" not null,
  level smallint not null check (level >= 0),
  tile_no bigint not null check (tile_no >= 0),
  hashes bytea not null check (length(hashes) between 32 and 8192 and length(hashes) % 32 = 0),
  primary key (agency_id, level, tile_no)
);
comment on table flux.audit_tiles is 'The trees'' hashes as C2SP tlog-tiles cuts them: level 0 are leaf hashes, level n roots of 256^n leaves, 256 a tile.';

create table flux.audit_checkpoints (
  agency_id text collate "C" not null,
  size bigint not null check (size > 0),
  root bytea not null check (length(root) = 32),
  note text not null,
  log_no bigint not null check (log_no >= 0),
  signed_at timestamptz not null default clock_timestamp(),
  primary key (agency_id, size)
);
comment on table flux.audit_checkpoints is 'Signed tree heads (C2SP tlog-checkpoint). log_no is the note''s place as a leaf of the log of logs.';
create index audit_checkpoints_log on flux.audit_checkpoints (log_no);

create table flux.audit_log_of_logs (
  only_row boolean primary key default true check (only_row),
  size bigint not null default 0,
  peaks bytea not null default '',
  note text
);
comment on table flux.audit_log_of_logs is 'The Merkle log whose leaves are the agencies'' checkpoints, over all agencies; its newest signed head.';
insert into flux.audit_log_of_logs default values;

create table flux.audit_sealer (
  only_row boolean primary key default true check (only_row),
  epoch bigint not null default 0,
  sealer text,
  lease_expires_at timestamptz not null default '-infinity'
);
comment on table flux.audit_sealer is 'Which sealer may seal. Each taking raises the epoch, so that a former holder''s transaction fails.';
insert into flux.audit_sealer default values;

do $$
declare
  tenant text;
begin
  foreach tenant in array array['audit_inbox', 'audit_entries', 'audit_heads', 'audit_tiles', 'audit_checkpoints'] loop
    execute format('alter table flux.%I enable row level security', tenant);
    execute format('alter table flux.%I force row level security', tenant);
    execute format('create policy definer_seals on flux.%I to flux_definer using (true) with check (true)', tenant);
    if tenant <> 'audit_inbox' then
      execute format('create policy own_agency on flux.%I using (agency_id = (select flux.current_agency()))
        with check (agency_id = (select flux.current_agency()))', tenant);
      execute format('create policy owner_verifies on flux.%I for select to flux_owner using (true)', tenant);
    end if;
  end loop;
end
$$;
grant select on flux.audit_entries, flux.audit_heads, flux.audit_tiles, flux.audit_checkpoints to flux_api;
grant select, insert, delete on flux.audit_inbox to flux_definer;
grant select, insert, delete on flux.audit_entries to flux_definer;
grant select, insert, update on flux.audit_heads, flux.audit_tiles to flux_definer;
grant select, insert on flux.audit_checkpoints to flux_definer;
grant select, update on flux.audit_log_of_logs, flux.audit_sealer to flux_definer;

-- What is sealed stays. Only what retention has pruned may go, and flux.prune_audit says so in the log itself.
create trigger append_only before update or truncate on flux.audit_entries
  for each statement execute function flux.refuse_change();
create trigger append_only before update or delete or truncate on flux.audit_checkpoints
  for each statement execute function flux.refuse_change();
create trigger kept before delete or truncate on flux.audit_heads
  for each statement execute function flux.refuse_change();
create trigger kept before delete or truncate on flux.audit_tiles
  for each statement execute function flux.refuse_change();
create trigger sealed_only before update or truncate on flux.audit_inbox
  for each statement execute function flux.refuse_change();

create function flux.refuse_unpruned_delete() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from flux.audit_heads h where h.agency_id = old.agency_id and old.seq <= h.pruned_through) then
    raise exception 'DELETE on flux.audit_entries is refused: entry % of % is sealed', old.seq, old.agency_id
      using errcode = '42501';
  end if;
  return old;
end
$$;
comment on function flux.refuse_unpruned_delete() is 'Lets go only of entries that retention has declared pruned.';
create trigger append_only_rows before delete on flux.audit_entries
  for each row execute function flux.refuse_unpruned_delete();

create function flux.refuse_shrinking() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  grows boolean;
begin
  if tg_table_name = 'audit_tiles' then
    grows := (new.agency_id, new.level, new.tile_no) = (old.agency_id, old.level, old.tile_no)
      and substring(new.hashes for length(old.hashes)) = old.hashes;
  else
    grows := new.agency_id = old.agency_id and new.size >= old.size and new.pruned_through >= old.pruned_through;
  end if;
  if not grows then
    raise exception 'UPDATE on flux.% is refused: a log only grows', tg_table_name using errcode = '42501';
  end if;
  return new;
end
$$;
comment on function flux.refuse_shrinking() is 'Keeps hashes that were written and sizes that were reached.';
create trigger grows_only before update on flux.audit_tiles for each row execute function flux.refuse_shrinking();
create trigger grows_only before update on flux.audit_heads for each row execute function flux.refuse_shrinking();

grant create on schema flux to flux_definer;
set local role flux_definer;

-- The caller gives the entry's canonical text in three parts, cut where agencyId, at and entryId stand in RFC 8785's order of
-- keys. Those three come from the database, so that no caller, not even injected SQL, chooses them. One round trip.
create function flux.append_audit(p_head text, p_middle text, p_tail text) returns uuid
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  agency text := flux.current_agency();
  id uuid := flux.uuid_v7();
  at timestamptz := clock_timestamp();
  body text;
  entry jsonb;
begin
  body := p_head || ',"agencyId":"' || agency || '","at":"'
    || to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '",' || p_middle
    || ',"entryId":"' || id::text || '",' || p_tail;
  entry := body::jsonb;
  if entry ->> 'agencyId' is distinct from agency or entry ->> 'entryId' is distinct from id::text
      or jsonb_typeof(entry -> 'actor') is distinct from 'string' or jsonb_typeof(entry -> 'role') is distinct from 'string'
      or jsonb_typeof(entry -> 'action') is distinct from 'string'
      or jsonb_typeof(entry -> 'resourceType') is distinct from 'string'
      or jsonb_typeof(entry -> 'success') is distinct from 'boolean' then
    raise exception 'not an audit entry' using errcode = '22023';
  end if;
  insert into flux.audit_inbox (agency_id, entry_id, at, body) values (agency, id, at, convert_to(body, 'UTF8'));
  return id;
end
$$;
comment on function flux.append_audit(text, text, text) is 'Writes an entry of the session''s agency into the inbox, in the caller''s transaction; returns its id.';

create function flux.lead_audit(p_sealer text, p_epoch bigint, p_lease_ms int) returns bigint
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
  update flux.audit_sealer
  set epoch = epoch + (p_epoch is null)::int,
    sealer = p_sealer,
    lease_expires_at = clock_timestamp() + p_lease_ms * interval '1 millisecond'
  where (p_epoch is null and lease_expires_at < clock_timestamp())
    or (epoch = p_epoch and sealer = p_sealer)
  returning epoch
$$;
comment on function flux.lead_audit(text, bigint, int) is
  'Without an epoch takes the free lease, with one renews it (0 ms: gives it back); the epoch, or null when another leads. Holds the row until the transaction ends.';

create function flux.audit_state() returns table (agency_id text, size bigint, peaks bytea, signed_size bigint, note text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select h.agency_id, h.size, h.peaks, c.size, c.note
  from flux.audit_heads h
  left join lateral (
    select k.size, k.note from flux.audit_checkpoints k where k.agency_id = h.agency_id order by k.size desc limit 1
  ) c on true
$$;
comment on function flux.audit_state() is 'Every tree with its newest signed checkpoint, for a sealer that begins to lead.';

create function flux.audit_tile(p_agency text, p_level int, p_tile_no bigint) returns bytea
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select hashes from flux.audit_tiles where agency_id = p_agency and level = p_level and tile_no = p_tile_no
$$;
comment on function flux.audit_tile(text, int, bigint) is 'A tile of any agency, with which the sealer checks a tree against what it signed.';

create function flux.audit_log_of_logs_state() returns table (size bigint, peaks bytea, note text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select size, peaks, note from flux.audit_log_of_logs
$$;
comment on function flux.audit_log_of_logs_state() is 'The log of logs as it stands.';

create function flux.take_audit_inbox(p_limit int, p_except text[])
returns table (agency_id text, entry_id uuid, body bytea)
language sql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
  select i.agency_id, i.entry_id, i.body
  from flux.audit_inbox i
  where i.agency_id <> all (p_except)
  order by i.at, i.entry_id
  limit p_limit
$$;
comment on function flux.take_audit_inbox(int, text[]) is 'The oldest entries that wait, of all agencies but those named.';

-- p_leaves holds 32 bytes per entry. The bytes hashed by the sealer are not sent back: what is moved is what stood in the
-- inbox, and if that changed in between, the leaf hash says so for ever.
create function flux.seal_audit(p_epoch bigint, p_agencies text[], p_ids uuid[], p_seqs bigint[], p_leaves bytea)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  sealed bigint;
begin
  perform from flux.audit_sealer where epoch = p_epoch for update;
  if not found then
    raise exception 'another sealer leads' using errcode = 'FX003';
  end if;
  with given as (
    select g.agency, g.id, g.seq, substring(p_leaves from ((g.n - 1) * 32 + 1)::int for 32) as leaf
    from rows from (unnest(p_agencies), unnest(p_ids), unnest(p_seqs)) with ordinality as g (agency, id, seq, n)
  ), moved as (
    delete from flux.audit_inbox i using given g
    where i.agency_id = g.agency and i.entry_id = g.id
    returning i.agency_id, i.entry_id, i.at, i.body, g.seq, g.leaf
  )
  insert into flux.audit_entries (agency_id, seq, entry_id, at, actor, role, action, resource_type, resource_id, success,
    error_code, body, leaf_hash)
  select m.agency_id, m.seq, m.entry_id, m.at, e.entry ->> 'actor', e.entry ->> 'role', e.entry ->> 'action',
    e.entry ->> 'resourceType', e.entry ->> 'resourceId', (e.entry ->> 'success')::boolean, e.entry ->> 'errorCode',
    m.body, m.leaf
  from moved m
  cross join lateral (select convert_from(m.body, 'UTF8')::jsonb as entry offset 0) e;
  get diagnostics sealed = row_count;
  if sealed <> cardinality(p_ids) then
    raise exception '% of % entries are in the inbox', sealed, cardinality(p_ids) using errcode = 'FX004';
  end if;
end
$$;
comment on function flux.seal_audit(bigint, text[], uuid[], bigint[], bytea) is 'Moves entries out of the inbox under the numbers and leaf hashes that the sealer gave them; FX003 when another leads.';

create function flux.grow_audit_trees(p_epoch bigint, p_heads jsonb, p_tiles jsonb) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  grown bigint;
begin
  perform from flux.audit_sealer where epoch = p_epoch for update;
  if not found then
    raise exception 'another sealer leads' using errcode = 'FX003';
  end if;
  insert into flux.audit_heads as h (agency_id, size, peaks)
  select agency, "to", decode(peaks, 'hex')
  from jsonb_to_recordset(p_heads) as g (agency text, "from" bigint, "to" bigint, before text, peaks text)
  on conflict (agency_id) do update set size = excluded.size, peaks = excluded.peaks
    where (h.size, encode(h.peaks, 'hex')) in (
      select g."from", g.before
      from jsonb_to_recordset(p_heads) as g (agency text, "from" bigint, before text)
      where g.agency = h.agency_id
    );
  get diagnostics grown = row_count;
  if grown <> jsonb_array_length(p_heads) then
    raise exception 'a tree is not what the sealer left' using errcode = 'FX004';
  end if;
  insert into flux.audit_tiles as t (agency_id, level, tile_no, hashes)
  select agency, level, tile, decode(hashes, 'hex')
  from jsonb_to_recordset(p_tiles) as g (agency text, level smallint, tile bigint, hashes text)
  on conflict (agency_id, level, tile_no) do update set hashes = t.hashes || excluded.hashes;
end
$$;
comment on function flux.grow_audit_trees(bigint, jsonb, jsonb) is 'Moves heads on and appends to tiles; FX004 when a head is not the one that the sealer grew from.';

create function flux.sign_audit(p_epoch bigint, p_checkpoints jsonb, p_from bigint, p_peaks bytea, p_note text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform from flux.audit_sealer where epoch = p_epoch for update;
  if not found then
    raise exception 'another sealer leads' using errcode = 'FX003';
  end if;
  insert into flux.audit_checkpoints (agency_id, size, root, note, log_no)
  select agency, size, decode(root, 'hex'), note, p_from + n - 1
  from rows from (jsonb_to_recordset(p_checkpoints) as (agency text, size bigint, root text, note text)) with ordinality
    as g (agency, size, root, note, n);
  update flux.audit_log_of_logs
  set size = size + jsonb_array_length(p_checkpoints), peaks = p_peaks, note = p_note
  where size = p_from;
  if not found then
    raise exception 'the log of logs is not what the sealer left' using errcode = 'FX004';
  end if;
end
$$;
comment on function flux.sign_audit(bigint, jsonb, bigint, bytea, text) is 'Stores signed checkpoints and puts them into the log of logs.';

create function flux.prune_audit(p_agency text, p_through bigint) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  id uuid := flux.uuid_v7();
  now timestamptz := clock_timestamp();
  removed bigint;
begin
  if p_through > (select max(size) from flux.audit_checkpoints where agency_id = p_agency) then
    raise exception 'entries after the newest checkpoint of % cannot be pruned', p_agency using errcode = '22023';
  end if;
  update flux.audit_heads set pruned_through = p_through where agency_id = p_agency and pruned_through < p_through;
  if not found then
    return 0;
  end if;
  delete from flux.audit_entries where agency_id = p_agency and seq <= p_through;
  get diagnostics removed = row_count;
  insert into flux.audit_inbox (agency_id, entry_id, at, body)
  values (p_agency, id, now, convert_to(
    '{"action":"audit.prune","actor":"retention","after":{"prunedThrough":"' || p_through || '"},"agencyId":"' || p_agency
    || '","at":"' || to_char(now at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    || '","before":null,"entryId":"' || id || '","errorCode":null,"ip":null,"reason":null,"requestId":null,"resourceId":"'
    || p_agency || '","resourceType":"audit","role":"platform","success":true,"traceId":null,"userAgent":null}', 'UTF8'));
  return removed;
end
$$;
comment on function flux.prune_audit(text, bigint) is 'Removes an agency''s entries up to a number and says so in its log; their leaf hashes stay, so the tree still verifies.';

grant execute on function flux.append_audit(text, text, text) to flux_api, flux_owner;
grant execute on function flux.lead_audit(text, bigint, int), flux.audit_state(), flux.audit_log_of_logs_state(),
  flux.audit_tile(text, int, bigint), flux.take_audit_inbox(int, text[]),
  flux.seal_audit(bigint, text[], uuid[], bigint[], bytea), flux.grow_audit_trees(bigint, jsonb, jsonb),
  flux.sign_audit(bigint, jsonb, bigint, bytea, text) to flux_sealer;
grant execute on function flux.prune_audit(text, bigint) to flux_owner;
-- An agency's logins are granted by name, by flux_owner: it may pass this one on.
grant execute on function flux.append_audit(text, text, text) to flux_owner with grant option;

set local role flux_owner;
revoke create on schema flux from flux_definer;

-- As in 0005, but entries go in by flux.append_audit alone.
create or replace function flux.grant_agency_login(p_rw name, p_ro name) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('grant usage on schema flux to %I', p_rw);
  execute format('grant select on flux.agencies, flux.connections, flux.contracts, flux.pipelines to %I', p_rw);
  execute format('grant select, insert, update on flux.run_partitions, flux.step_counts, flux.datasets, flux.loads to %I', p_rw);
  execute format('grant select, insert on flux.run_events, flux.source_objects, flux.checkpoints to %I', p_rw);
  execute format('grant select, insert, delete on flux.rejected_records to %I', p_rw);
  execute format('grant delete on flux.checkpoints to %I', p_rw);
  execute format('grant execute on function flux.append_audit(text, text, text) to %I', p_rw);
  execute format('grant select on flux.runs to %I', p_rw);
  execute format('grant update (status, version, last_seq, records_total, bytes_total, started_at, finished_at, updated_at,
    failure_class, failure_code, failure_message) on flux.runs to %I', p_rw);
  execute format('grant execute on function flux.checkpoint_intact(flux.checkpoints),
    flux.save_checkpoint(uuid, int, int, int, text, text, bytea, bytea, timestamptz), flux.load_checkpoint(uuid, int),
    flux.validate_checkpoint_integrity(uuid), flux.cleanup_expired_checkpoints(int) to %I', p_rw);
end
$$;
comment on function flux.grant_agency_login(name, name) is 'Grants an agency''s worker login what it needs in flux; its lake is its own schema.';
