import type { Queryable } from '../../src/db/pool.ts';
import type { PlatformRoles } from '../../src/db/roles.ts';
import { join, type Sql, sql } from '../../src/db/sql.ts';

/** Tables without a tenant, each with the reason why it needs none. */
const platformTables = {
  migrations: 'what was applied; the same for everybody',
  installation: 'how the roles are called; one row',
  context_keys: 'seal keys; only flux_definer may read them',
  audit_log_of_logs: 'size and hashes over all agencies; only flux_definer may touch it',
  audit_sealer: 'the sealer’s lease; only flux_definer may touch it',
  workers: 'which workers are there, of no agency; only flux_definer may touch it',
};

/** Unique indexes that do not begin with the agency, each with its reason. */
const globalIndexes = {
  agency_logins_role: 'session_user must find its agency, so a login belongs to one; flux_definer alone reads it',
};

/** Policies without a tenant, each for one role that nobody can log in as, and the reason. */
export const crossingPolicies: Record<string, { role: 'definer' | 'owner'; reason: string }> = {
  'agency_logins.definer_reads': { role: 'definer', reason: 'current_agency() looks the login up' },
  'agencies.definer_reads': { role: 'definer', reason: 'claims pass over disabled agencies' },
  'run_partitions.definer_claims': {
    role: 'definer',
    reason: 'claim, heartbeat, rescue and the depth see every agency',
  },
  ...Object.fromEntries(
    ['agenda', 'schedule_ticks'].map((table) => [
      `${table}.definer_looks`,
      { role: 'definer' as const, reason: 'a worker looks for what is due, of any agency' },
    ]),
  ),
  'agency_turns.definer_takes_turns': { role: 'definer', reason: 'a claim weighs every agency’s account' },
  'agency_logins.owner_provisions': { role: 'owner', reason: 'an admin without superuser adds agencies as the owner' },
  ...Object.fromEntries(
    ['audit_inbox', 'audit_entries', 'audit_heads', 'audit_tiles', 'audit_checkpoints'].map((table) => [
      `${table}.definer_seals`,
      { role: 'definer' as const, reason: 'the sealer numbers and hashes the entries of every agency' },
    ]),
  ),
  ...Object.fromEntries(
    ['audit_entries', 'audit_heads', 'audit_tiles', 'audit_checkpoints'].map((table) => [
      `${table}.owner_verifies`,
      { role: 'owner' as const, reason: 'the platform operator verifies and exports every agency’s log' },
    ]),
  ),
  'issuers.owner_reads': { role: 'owner', reason: 'an admin without superuser lists issuers as the owner' },
  'webhooks.definer_delivers': { role: 'definer', reason: 'due_webhooks() looks for work in every agency' },
  'webhook_deliveries.definer_delivers': { role: 'definer', reason: 'due_webhooks() looks for work in every agency' },
  'bulk_operations.definer_claims': {
    role: 'definer',
    reason: 'claim_bulk_operation() looks for work in every agency',
  },
  'agencies.owner_reads': { role: 'owner', reason: 'an admin without superuser lists agencies as the owner' },
};

/** Policies that narrow what a role sees of its own tenant, with their exact condition. */
const narrowingPolicies: Record<string, { role: 'api'; condition: string; reason: string }> = {
  'data_keys.records_only': {
    role: 'api',
    condition: "(purpose = 'records'::text)",
    reason: 'the API shows payloads and refused records, and never unwraps the key of a pinned object',
  },
  'bulk_operations.cleared': {
    role: 'api',
    condition: '(clearance <= ( SELECT flux.current_clearance() AS current_clearance))',
    reason: 'it counts runs that its asker was cleared for',
  },
};

/** The only SECURITY DEFINER functions, and who may call them. */
const definerFunctions = {
  verified_context: 'nobody',
  current_agency: 'public',
  current_clearance: 'public',
  claim_partition: 'worker',
  keep_turn: 'worker',
  due_work: 'worker',
  take_stock: 'nobody',
  report_worker: 'worker',
  waiting_agencies: 'nobody',
  charge_turn: 'worker',
  queue_outlook: 'watchers',
  heartbeat: 'worker',
  rescue_partitions: 'worker',
  takeover_waits: 'worker',
  queue_depth: 'worker',
  operation_counts: 'watchers',
  append_audit: 'writers',
  append_audit_batch: 'api',
  sealer_state: 'processes',
  lead_audit: 'sealer',
  audit_state: 'sealer',
  audit_tile: 'sealer',
  audit_log_of_logs_state: 'sealer',
  take_audit_inbox: 'sealer',
  seal_audit: 'sealer',
  grow_audit_trees: 'sealer',
  sign_audit: 'sealer',
  prune_audit: 'owner',
  retained_agencies: 'worker',
  retention_cutoff: 'owner',
  expire_runs: 'agencies',
  expire_idempotency_keys: 'agencies',
  expire_audit: 'agencies',
  expire_uploads: 'agencies',
  cancel_requested: 'worker',
  overdue_cancels: 'worker',
  due_webhooks: 'worker',
  claim_bulk_operation: 'api',
};

/**
 * What the catalogue of the connected database breaks of the rules of isolation, one sentence each; empty when it breaks
 * none. Reads the catalogue only, so it may run in a transaction that is about to be rolled back.
 */
export async function catalogueViolations(
  db: Queryable,
  roles: PlatformRoles,
  groups: readonly RuleGroup[] = ruleGroups,
): Promise<string[]> {
  const found: string[] = [];
  for (const rule of groups.flatMap((group) => rulesOf[group](roles))) {
    const { rows } = await db.query<{ violation: string }>(rule);
    found.push(...rows.map(({ violation }) => violation));
  }
  return found.sort();
}

/** What a part of the rules finds, the whole finds: a test of hundreds of changes need not ask all of them each time. */
const rulesOf = { tables: tableRules, policies: policyRules, keys: keyRules, code: codeRules, roles: roleRules };
export type RuleGroup = keyof typeof rulesOf;
const ruleGroups = Object.keys(rulesOf) as RuleGroup[];

const tables = sql`
  select c.oid, c.relname::text as name, c.relrowsecurity, c.relforcerowsecurity, c.relacl, c.relowner, a.attnum as agency,
    a.attnotnull
  from pg_class c
  left join pg_attribute a on a.attrelid = c.oid and a.attname = 'agency_id' and not a.attisdropped
  where c.relnamespace = 'flux'::regnamespace and c.relkind in ('r', 'p')
`;

function tableRules(): Sql[] {
  return [
    sql`
      select format('%s: row-level security is not enabled', name) as violation
      from (${tables}) t where agency is not null and not relrowsecurity
    `,
    sql`
      select format('%s: row-level security is not forced, so its owner passes it', name) as violation
      from (${tables}) t where agency is not null and not relforcerowsecurity
    `,
    sql`
      select format('%s: agency_id may be null', name) as violation
      from (${tables}) t where agency is not null and not attnotnull
    `,
    sql`
      select format('%s: has no agency_id and is not on the list of platform tables', name) as violation
      from (${tables}) t where agency is null and name <> all (${Object.keys(platformTables)})
    `,
    // A relation of another kind would need rules of its own before it may exist.
    sql`
      select format('%s: a view must be security_invoker; other kinds of relation are not allowed', c.relname) as violation
      from pg_class c
      where c.relnamespace = 'flux'::regnamespace and c.relkind not in ('r', 'p', 'i', 'I', 'S', 't', 'c')
        and not (c.relkind = 'v' and coalesce('security_invoker=true' = any (c.reloptions), false))
    `,
    sql`
      select format('%s: %s has the privilege %s', t.name, coalesce(g.rolname, 'PUBLIC'), a.privilege_type) as violation
      from (${tables}) t
      cross join lateral aclexplode(t.relacl) a
      left join pg_roles g on g.oid = a.grantee
      where a.grantee <> t.relowner
        and (g.rolname is null or a.is_grantable or a.privilege_type not in ('SELECT', 'INSERT', 'UPDATE', 'DELETE'))
    `,
  ];
}

function policyRules(roles: PlatformRoles): Sql[] {
  const policies = sql`
    select c.relname::text as table_name, p.polname::text as name, p.polcmd, p.polpermissive, p.polroles,
      pg_get_expr(p.polqual, p.polrelid) as qual, pg_get_expr(p.polwithcheck, p.polrelid) as with_check,
      p.polrelid
    from pg_policy p
    join pg_class c on c.oid = p.polrelid
    where c.relnamespace = 'flux'::regnamespace
  `;
  const crossing = sql`(
    array[format('%s.%s', table_name, name), (select string_agg(r.rolname, ',') from pg_roles r where r.oid = any (polroles))]
    in (${join(Object.entries(crossingPolicies).map(([name, { role }]) => sql`array[${name}, ${roles[role]}]`))})
  )`;
  const tenant = '(agency_id = ( SELECT flux.current_agency() AS current_agency))';
  return [
    // For each granted command a permissive policy must stand that binds it to the tenant; without one nothing is visible.
    sql`
      select distinct format('%s: %s may %s and no policy admits a row', t.name, g.rolname, a.privilege_type) as violation
      from (${tables}) t
      join lateral (
        select grantee, privilege_type from aclexplode(t.relacl)
        union
        select x.grantee, x.privilege_type from pg_attribute col, aclexplode(col.attacl) x where col.attrelid = t.oid
      ) a on a.grantee <> t.relowner
      join pg_roles g on g.oid = a.grantee
      where t.agency is not null
        and a.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
        and not exists (
          select from pg_policy p
          where p.polrelid = t.oid and p.polpermissive
            and (p.polroles = '{0}' or a.grantee = any (p.polroles))
            and p.polcmd in ('*', case a.privilege_type
              when 'SELECT' then 'r' when 'INSERT' then 'a' when 'UPDATE' then 'w' else 'd' end)
        )
    `,
    sql`
      select format('%s: policy %s admits rows beyond the tenant', table_name, name) as violation
      from (${policies}) p
      where polpermissive and not ${crossing}
        and (coalesce(qual, '') <> ${tenant} or coalesce(with_check, '') <> ${tenant})
    `,
    sql`
      select format('policy %s is missing', listed) as violation
      from unnest(${Object.keys(crossingPolicies)}::text[]) listed
      where not exists (select from (${policies}) p where format('%s.%s', table_name, name) = listed)
    `,
    sql`
      select format('policy %s is missing, or narrows less than it should', w.name) as violation
      from (values ${join(Object.entries(narrowingPolicies).map(([name, { role, condition }]) => sql`(${name}, ${roles[role]}, ${condition})`))})
        w (name, role, condition)
      where not exists (
        select from (${policies}) p
        join pg_roles r on r.rolname = w.role and p.polroles = array[r.oid]
        where format('%s.%s', table_name, p.name) = w.name and not polpermissive and polcmd = '*'
          and qual = w.condition and with_check = w.condition
      )
    `,
    sql`
      select format('%s: policy %s calls a function once per row instead of once per statement', table_name, name) as violation
      from (${policies}) p
      where not ${crossing} and concat(qual, ' ', with_check) ~ '(?<!SELECT )flux[.][a-z_]+[(]'
    `,
    sql`
      select format('%s: a classification without the restrictive policy that compares it with the clearance', t.name) as violation
      from (${tables}) t
      join pg_attribute a on a.attrelid = t.oid and a.attname = 'classification' and not a.attisdropped
      where not exists (
        select from (${policies}) p
        where p.polrelid = t.oid and not p.polpermissive and p.polroles = '{0}' and p.polcmd = '*'
          and p.qual = '(classification <= ( SELECT flux.current_clearance() AS current_clearance))'
          and p.with_check = p.qual
      )
    `,
    // What hangs from a run is the run's: for every role but the definer and the agencies' own logins, which are cleared for all.
    sql`
      select format('%s: %s reads what hangs from a run without the restrictive policy that asks whether the run exists for it',
        t.name, g.rolname) as violation
      from (${tables}) t
      join pg_attribute a on a.attrelid = t.oid and a.attname = 'run_id' and not a.attisdropped
      join lateral (
        select grantee from aclexplode(t.relacl)
        union
        select x.grantee from pg_attribute col, aclexplode(col.attacl) x where col.attrelid = t.oid
      ) granted on granted.grantee <> t.relowner
      join pg_roles g on g.oid = granted.grantee
      where t.name <> 'runs'
        and g.rolname <> ${roles.definer}
        and g.rolname not in (select role_name from flux.agency_logins)
        and not exists (
          select from (${policies}) p
          where p.polrelid = t.oid and not p.polpermissive and p.polcmd = '*' and granted.grantee = any (p.polroles)
            and p.with_check = p.qual
            and regexp_replace(p.qual, '\\s+', ' ', 'g') = format(
              '(EXISTS ( SELECT FROM flux.runs r WHERE ((r.agency_id = %1$s.agency_id) AND (r.run_id = %1$s.run_id))))', t.name)
        )
    `,
    // And what hangs from a schedule or a backfill is theirs, for the API.
    sql`
      select format('%s: hangs from %s without the restrictive policy that asks whether that exists', t.name, parent.name) as violation
      from (${tables}) t
      join pg_attribute a on a.attrelid = t.oid and not a.attisdropped
      join (values ('schedules', 'schedule_id'), ('backfills', 'backfill_id')) parent (name, key) on parent.key = a.attname
      where t.name <> parent.name
        and not exists (
          select from (${policies}) p
          where p.polrelid = t.oid and not p.polpermissive and p.polcmd = '*'
            and (select oid from pg_roles where rolname = ${roles.api}) = any (p.polroles)
            and p.with_check = p.qual
            and regexp_replace(p.qual, '\\s+', ' ', 'g') = format(
              '(EXISTS ( SELECT FROM flux.%2$s %4$s WHERE ((%4$s.agency_id = %1$s.agency_id) AND (%4$s.%3$s = %1$s.%3$s))))',
              t.name, parent.name, parent.key, left(parent.name, 1))
        )
    `,
  ];
}

function keyRules(): Sql[] {
  return [
    sql`
      select format('%s: has no primary key', t.name) as violation
      from (${tables}) t
      where not exists (select from pg_index i where i.indrelid = t.oid and i.indisprimary)
    `,
    sql`
      select format('%s: unique index %s does not begin with agency_id', t.name, i.indexrelid::regclass::text) as violation
      from (${tables}) t
      join pg_index i on i.indrelid = t.oid and i.indisunique
      join pg_class x on x.oid = i.indexrelid
      where t.agency is not null and i.indkey[0] <> t.agency and x.relname <> all (${Object.keys(globalIndexes)})
    `,
    // Foreign keys pass row-level security: only one that carries the agency on both sides cannot reach another's row.
    sql`
      select format('%s: foreign key %s does not pair agency_id with agency_id first', t.name, k.conname) as violation
      from (${tables}) t
      join pg_constraint k on k.conrelid = t.oid and k.contype = 'f'
      left join pg_attribute far on far.attrelid = k.confrelid and far.attnum = k.confkey[1]
      where t.agency is not null and (k.conkey[1] <> t.agency or far.attname is distinct from 'agency_id')
    `,
    // Text under another collation than "C" sorts by the server's locale, and keyset cursors would differ between servers.
    sql`
      select format('%s: agency_id is not text collate "C"', t.name) as violation
      from (${tables}) t
      join pg_attribute a on a.attrelid = t.oid and a.attnum = t.agency
      join pg_collation c on c.oid = a.attcollation
      where c.collname <> 'C' or a.atttypid <> 'text'::regtype
    `,
  ];
}

function codeRules({ definer, api, worker, sealer, owner }: PlatformRoles): Sql[] {
  const functions = sql`
    select f.oid, f.proname::text as name, f.prosecdef, f.proconfig, f.proleakproof, f.proacl, f.proowner, f.prosqlbody is not null as parsed, o.rolname as owner
    from pg_proc f
    join pg_roles o on o.oid = f.proowner
    where f.pronamespace = 'flux'::regnamespace
  `;
  const callableBy = (who: string): string[] =>
    Object.entries(definerFunctions)
      .filter(([, callers]) => callers === who)
      .map(([name]) => name);
  return [
    sql`
      select format('%s(): SECURITY DEFINER and not on the list', name) as violation
      from (${functions}) f where prosecdef and name <> all (${Object.keys(definerFunctions)})
    `,
    sql`
      select format('%s(): should be SECURITY DEFINER and owned by %s', name, ${definer}::text) as violation
      from (${functions}) f
      where name = any (${Object.keys(definerFunctions)}) and (not prosecdef or owner <> ${definer})
    `,
    sql`
      select format('%s(): its search_path is not fixed to pg_catalog, pg_temp', name) as violation
      from (${functions}) f
      -- What was parsed when it was created looks nothing up any more.
      where not coalesce('search_path=pg_catalog, pg_temp' = any (proconfig), false) and not parsed
    `,
    sql`
      select format('%s.%s(): LEAKPROOF lets it see rows before the policy does', pronamespace::regnamespace, proname) as violation
      from pg_proc
      where proleakproof and pronamespace <> 'pg_catalog'::regnamespace
    `,
    sql`
      select format('%s(): PUBLIC may call it', f.name) as violation
      from (${functions}) f
      cross join lateral aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a
      where a.grantee = 0 and f.name <> all (${['uuid_v7', ...callableBy('public')]})
    `,
    sql`
      select format('%s(): %s may call it', f.name, g.rolname) as violation
      from (${functions}) f
      cross join lateral aclexplode(f.proacl) a
      join pg_roles g on g.oid = a.grantee
      where a.grantee <> f.proowner
        and (f.name = any (${callableBy('nobody')})
          or (f.name = any (${callableBy('worker')}) and g.rolname <> ${worker})
          or (f.name = any (${callableBy('watchers')}) and g.rolname not in (${api}, ${worker}))
          or (f.name = any (${callableBy('processes')}) and g.rolname not in (${api}, ${worker}, ${sealer}))
          or (f.name = any (${callableBy('api')}) and g.rolname <> ${api})
          or (f.name = any (${callableBy('sealer')}) and g.rolname <> ${sealer})
          or (f.name = any (${callableBy('owner')}) and g.rolname <> ${owner})
          or (f.name = any (${callableBy('agencies')}) and g.rolname in (${api}, ${worker}, ${sealer}))
          or (f.name = any (${callableBy('writers')}) and g.rolname in (${worker}, ${sealer})))
    `,
  ];
}

function roleRules(roles: PlatformRoles): Sql[] {
  const ours = sql`
    select r.* from pg_roles r
    where r.rolname = any (${Object.values(roles)}) or r.rolname in (select role_name from flux.agency_logins)
  `;
  return [
    sql`
      select format('%s: has a power that passes row-level security or makes roles', rolname) as violation
      from (${ours}) r
      where rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication
    `,
    sql`
      select format('%s: may log in, and nobody must be it', rolname) as violation
      from (${ours}) r
      where rolcanlogin and rolname in (${roles.owner}, ${roles.definer})
    `,
    // A superuser's own membership is pointless and harmless; ours must have none, save the one that ends backends.
    sql`
      select format('%s: is a member of %s', r.rolname, g.rolname) as violation
      from (${ours}) r
      join pg_auth_members m on m.member = r.oid
      join pg_roles g on g.oid = m.roleid
      where not (r.rolname = ${roles.definer} and g.rolname = 'pg_signal_backend')
    `,
    sql`
      select format('%s: is owned by %s instead of %s', c.relname, pg_get_userbyid(c.relowner), ${roles.owner}::text) as violation
      from pg_class c
      where c.relnamespace = 'flux'::regnamespace and c.relkind in ('r', 'p', 'v', 'S')
        and pg_get_userbyid(c.relowner) <> ${roles.owner}
    `,
    sql`
      select format('schema %s: %s may create in it', n.nspname, coalesce(g.rolname, 'PUBLIC')) as violation
      from pg_namespace n
      cross join lateral aclexplode(n.nspacl) a
      left join pg_roles g on g.oid = a.grantee
      where n.nspname in ('flux', 'public') and a.privilege_type = 'CREATE' and a.grantee <> n.nspowner
    `,
    // A lake is its agency's own: the two logins of one agency, and nobody else's.
    sql`
      select format('schema %s: %s may use it', n.nspname, coalesce(g.rolname, 'PUBLIC')) as violation
      from pg_namespace n
      join flux.agency_logins rw on pg_get_userbyid(n.nspowner) = rw.role_name
      cross join lateral aclexplode(n.nspacl) a
      left join pg_roles g on g.oid = a.grantee
      where a.grantee <> n.nspowner
        and not exists (
          select from flux.agency_logins l where l.agency_id = rw.agency_id and l.role_name = g.rolname
        )
    `,
  ];
}
