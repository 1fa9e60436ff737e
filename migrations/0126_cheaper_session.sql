-- Every statement under row-level security asks whose session this is, once for each policy: the start of a run seventeen times.
-- Each question of the API's looked first among the agencies' logins, where the API is not. Nothing is kept between questions,
-- because a session could write whatever it is kept in.

-- Parsed when it is created, so that no search_path decides what it calls; without a setting of its own the planner can put it
-- where it is called, which takes a third of the time.
create or replace function flux.uuid_v7() returns uuid
language sql volatile parallel safe
begin atomic
  select encode(
    set_bit(
      set_bit(
        overlay(
          uuid_send(gen_random_uuid())
          placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
          from 1 for 6),
        52, 1),
      53, 1),
    'hex')::uuid;
end;

-- What tells an agency's login from the platform's before it is looked up.
alter table flux.agency_logins
  add constraint agency_logins_role_name_check check (right(role_name::text, 3) = '_' || access);

grant create on schema flux to flux_definer;
set local role flux_definer;

create or replace function flux.current_agency() returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  own text;
begin
  if right(session_user::text, 3) in ('_rw', '_ro') then
    select agency_id into own from flux.agency_logins where role_name = session_user;
    if found then
      return own;
    end if;
  end if;
  -- The look among the logins refused this by itself: their table has row-level security too.
  if current_setting('row_security') <> 'on' then
    raise exception 'row-level security is switched off' using errcode = '42501';
  end if;
  return (flux.verified_context())[1];
end
$$;

create or replace function flux.current_clearance() returns smallint
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if right(session_user::text, 3) in ('_rw', '_ro') then
    perform from flux.agency_logins where role_name = session_user;
    if found then
      return 5;
    end if;
  end if;
  if current_setting('row_security') <> 'on' then
    raise exception 'row-level security is switched off' using errcode = '42501';
  end if;
  return (flux.verified_context())[3]::smallint;
end
$$;

set local role flux_owner;
revoke create on schema flux from flux_definer;
