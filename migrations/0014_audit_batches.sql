-- What: many audit entries in one call, for what is gathered: reads, refusals, subscriptions.
-- Why: a read writes nothing else, so that its entry alone would cost a transaction of its own; a hundred of them share one.
-- Locks: new objects only. Old code: works on.

grant create on schema flux to flux_definer;
set local role flux_definer;

-- As flux.append_audit, part by part; the order of the parts is the order of the entries.
create function flux.append_audit_batch(p_heads text[], p_middles text[], p_tails text[]) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  agency text := flux.current_agency();
  appended bigint;
  unfit bigint;
begin
  with given as materialized (
    select g.n, flux.uuid_v7() as id, clock_timestamp() as at, g.head, g.middle, g.tail
    from rows from (unnest(p_heads), unnest(p_middles), unnest(p_tails)) with ordinality as g (head, middle, tail, n)
    order by g.n
  ), built as materialized (
    select id, at, head || ',"agencyId":"' || agency || '","at":"'
      || to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '",' || middle
      || ',"entryId":"' || id::text || '",' || tail as body
    from given
  ), parsed as materialized (
    select id, at, body, body::jsonb as entry from built
  ), checked as materialized (
    select id, at, body, coalesce(entry ->> 'agencyId' = agency and entry ->> 'entryId' = id::text
      and jsonb_typeof(entry -> 'actor') = 'string' and jsonb_typeof(entry -> 'role') = 'string'
      and jsonb_typeof(entry -> 'action') = 'string' and jsonb_typeof(entry -> 'resourceType') = 'string'
      and jsonb_typeof(entry -> 'success') = 'boolean', false) as fits
    from parsed
  ), inserted as (
    insert into flux.audit_inbox (agency_id, entry_id, at, body)
    select agency, id, at, convert_to(body, 'UTF8') from checked
    returning 1
  )
  select (select count(*) from inserted), (select count(*) from checked where not fits) into appended, unfit;
  if unfit > 0 then
    raise exception '% of % are no audit entries', unfit, appended using errcode = '22023';
  end if;
  return appended;
end
$$;
comment on function flux.append_audit_batch(text[], text[], text[]) is 'Writes entries of the session''s agency into the inbox, in the caller''s transaction; returns how many.';
grant execute on function flux.append_audit_batch(text[], text[], text[]) to flux_api;

set local role flux_owner;
revoke create on schema flux from flux_definer;
