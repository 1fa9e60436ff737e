-- What: nothing that names a destroyed data key is stored any more.
-- Why: a retired version of a key must have nothing left under it. Old content is re-encrypted before (flux keys reencrypt), and
--   `flux keys retire` counts what is left and destroys the version; but a pin that began before the rotation, or a fork that copies
--   refused records, may store something under the old version just afterwards. Each such write holds the agency's lock shared until
--   its transaction ends, and the retirement holds it alone: whichever comes second sees what the first has done. FX010 is transient
--   (src/errors.ts): tried again, the work takes the newest key.
-- Why not a foreign key: a destroyed key leaves its row, which says when it went.
-- Locks: share row exclusive on six tables, for their triggers. Old code: works on.

create function flux.require_live_object_key() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_advisory_xact_lock_shared(x'666c0055'::int, hashtext(new.agency_id));
  perform from flux.data_keys k
  where k.agency_id = new.agency_id and k.purpose = 'objects' and k.version = new.key_version and k.wrapped is not null;
  if not found then
    raise exception 'version % of the objects key of % is gone; take the newest', new.key_version, new.agency_id using errcode = 'FX010';
  end if;
  return null;
end
$$;
comment on function flux.require_live_object_key() is 'Refuses an object under a destroyed data key (FX010).';
create trigger require_live_key after insert or update of key_version on flux.source_objects
  for each row when (new.key_version is not null) execute function flux.require_live_object_key();
create trigger require_live_key after insert or update of key_version on flux.run_parts
  for each row when (new.key_version is not null) execute function flux.require_live_object_key();

-- A sealed value names its key's version in its second to fifth byte (src/keys/sealed-records.ts).
create function flux.require_live_payload_key() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_advisory_xact_lock_shared(x'666c0055'::int, hashtext(new.agency_id));
  perform from flux.data_keys k
  where k.agency_id = new.agency_id and k.purpose = 'records' and k.wrapped is not null
    and int4send(k.version) = substring(new.payload_sealed from 2 for 4);
  if not found then
    raise exception 'the records key that sealed the payload of run % is gone; take the newest', new.run_id using errcode = 'FX010';
  end if;
  return null;
end
$$;
comment on function flux.require_live_payload_key() is 'Refuses a payload under a destroyed data key (FX010).';
create trigger require_live_key after insert or update of payload_sealed on flux.runs
  for each row when (new.payload_sealed is not null) execute function flux.require_live_payload_key();

-- Once for all rows of a statement: a batch refuses thousands.
create function flux.require_live_record_keys() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  gone record;
begin
  perform pg_advisory_xact_lock_shared(x'666c0055'::int, hashtext(w.agency_id))
  from (select distinct agency_id from written where sealed is not null) w;
  select w.agency_id into gone
  from (select distinct agency_id, substring(sealed from 2 for 4) as version from written where sealed is not null) w
  where not exists (
    select from flux.data_keys k
    where k.agency_id = w.agency_id and k.purpose = 'records' and k.wrapped is not null and int4send(k.version) = w.version)
  limit 1;
  if found then
    raise exception 'the records key that sealed refused records of % is gone; take the newest', gone.agency_id using errcode = 'FX010';
  end if;
  return null;
end
$$;
comment on function flux.require_live_record_keys() is 'Refuses rejected records under a destroyed data key (FX010).';
create trigger require_live_keys_of_new after insert on flux.rejected_records
  referencing new table as written for each statement execute function flux.require_live_record_keys();
create trigger require_live_keys_of_changed after update on flux.rejected_records
  referencing new table as written for each statement execute function flux.require_live_record_keys();

create function flux.require_live_secret_key() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_advisory_xact_lock_shared(x'666c0055'::int, hashtext(new.agency_id));
  perform from unnest(array[new.secret, new.previous_secret]) s (sealed)
  where length(s.sealed) <> 60
    and not exists (
      select from flux.data_keys k
      where k.agency_id = new.agency_id and k.purpose = 'records' and k.wrapped is not null
        and int4send(k.version) = substring(s.sealed from 2 for 4));
  if found then
    raise exception 'the records key that sealed a secret of webhook % is gone; take the newest', new.webhook_id using errcode = 'FX010';
  end if;
  return null;
end
$$;
comment on function flux.require_live_secret_key() is
  'Refuses a webhook''s secret under a destroyed data key (FX010). One of 60 bytes is sealed under FLUX_DATA_KEY itself.';
create trigger require_live_key after insert or update of secret, previous_secret on flux.webhooks
  for each row execute function flux.require_live_secret_key();

-- A later migration (0075) gives connections a secret; until then there is none to look at.
create function flux.require_live_connection_key() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  secret bytea := (to_jsonb(new) ->> 'secret')::bytea;
begin
  if secret is null then
    return null;
  end if;
  perform pg_advisory_xact_lock_shared(x'666c0055'::int, hashtext(new.agency_id));
  perform from flux.data_keys k
  where k.agency_id = new.agency_id and k.purpose = 'records' and k.wrapped is not null
    and int4send(k.version) = substring(secret from 2 for 4);
  if not found then
    raise exception 'the records key that sealed the secret of connection % is gone; take the newest', new.name using errcode = 'FX010';
  end if;
  return null;
end
$$;
comment on function flux.require_live_connection_key() is 'Refuses a connection''s secret under a destroyed data key (FX010).';
create trigger require_live_key after insert or update on flux.connections
  for each row execute function flux.require_live_connection_key();

comment on table flux.webhooks is
  'Where to tell of endings. Secrets are sealed under the agency''s records key; those of 60 bytes, from before, under a key derived from FLUX_DATA_KEY.';
