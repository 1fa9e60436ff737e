import type { Queryable } from './pool.ts';
import { type Sql, sql } from './sql.ts';

/** What the first request with a key was, and what it made. */
export interface FirstResult {
  requestSha256: Buffer;
  result: Record<string, unknown>;
}

/** Lock spaces, so that a key and a name of equal text do not wait for each other. */
const lockSpaces = {
  idempotency: 0x666c0001,
  contract: 0x666c0002,
  pipeline: 0x666c0003,
  connection: 0x666c0004,
  reprocess: 0x666c0025,
} as const;

/**
 * Makes equal requests take turns until the transaction ends: of two at once, the second sees what the first did.
 * Two names may share a hash and then wait for each other without need; nothing else follows.
 */
export async function lockName(db: Queryable, space: keyof typeof lockSpaces, name: string): Promise<void> {
  await db.query(sql`
    select pg_advisory_xact_lock(${lockSpaces[space]}, hashtext(flux.current_agency() || '/' || ${name}))
  `);
}

/** The first result under a key, unless it has expired. The caller holds the key's lock. */
export async function findFirstResult(db: Queryable, operation: string, key: string): Promise<FirstResult | null> {
  const { rows } = await db.query<FirstResult>(sql`
    select request_sha256 as "requestSha256", result
    from flux.idempotency_keys
    where agency_id = (select flux.current_agency())
      and operation = ${operation}
      and key = ${key}
      and expires_at > clock_timestamp()
  `);
  return rows[0] ?? null;
}

/** As `lockName` for each of several, without waiting. @returns whether each is held now, in the order of the names */
export async function tryLockNames(
  db: Queryable,
  space: keyof typeof lockSpaces,
  names: readonly string[],
): Promise<boolean[]> {
  const { rows } = await db.query<{ held: boolean }>(sql`
    select pg_try_advisory_xact_lock(${lockSpaces[space]}, hashtext(own.agency || '/' || wanted.name)) as held
    from (select flux.current_agency() as agency) as own, unnest(${[...names]}::text[]) with ordinality as wanted (name, n)
    order by wanted.n
  `);
  return rows.map(({ held }) => held);
}

/** Those of the keys that have a first result which has not expired. The caller holds their locks. */
export async function findFirstResults(
  db: Queryable,
  operation: string,
  keys: readonly string[],
): Promise<ReadonlySet<string>> {
  const { rows } = await db.query<{ key: string }>(sql`
    select key
    from flux.idempotency_keys
    where agency_id = (select flux.current_agency())
      and operation = ${operation}
      and key = any (${[...keys]}::text[])
      and expires_at > clock_timestamp()
  `);
  return new Set(rows.map(({ key }) => key));
}

/** Locks each key as `tryLockNames` does; fails (FX012) when one is in other hands, or has a first result. */
export function newKeysGuard(operation: string, keys: readonly string[]): Sql {
  return sql`select flux.require_new_keys(${lockSpaces.idempotency}, ${operation}, ${[...keys]}::text[])`;
}

export type NewFirstResult = FirstResult & { operation: string; key: string };

/** Keeps a first result for seven days; takes the place of an expired one. The caller holds the key's lock. */
export async function saveFirstResult(db: Queryable, first: NewFirstResult): Promise<void> {
  await db.query(firstResultsInsert([first]));
}

/** As `saveFirstResult`, for different keys. */
export function firstResultsInsert(firsts: readonly NewFirstResult[]): Sql {
  return sql`
    insert into flux.idempotency_keys (agency_id, key, operation, request_sha256, result)
    select (select flux.current_agency()), first.key, first.operation, first.sha256, first.result::jsonb
    from unnest(
      ${firsts.map(({ key }) => key)}::text[],
      ${firsts.map(({ operation }) => operation)}::text[],
      ${firsts.map(({ requestSha256 }) => requestSha256)}::bytea[],
      ${firsts.map(({ result }) => JSON.stringify(result))}::text[]
    ) as first (key, operation, sha256, result)
    on conflict (agency_id, operation, key) do update
    set request_sha256 = excluded.request_sha256,
        result = excluded.result,
        created_at = excluded.created_at,
        expires_at = excluded.expires_at
  `;
}
