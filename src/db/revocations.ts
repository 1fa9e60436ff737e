import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

/** Tokens that are refused before their time: those of a subject up to a moment, or those named. */
export interface Revocation {
  id: string;
  subject: string | null;
  /** `jti`s. */
  tokenIds: string[] | null;
  /** Subscriptions that were open under these tokens when it was asked for. */
  subscriptionCount: number;
  reason: string;
  revokedBy: string;
  revokedAt: Date;
}

const columns = sql`
  revocation_id as "id",
  subject,
  token_ids as "tokenIds",
  subscription_count as "subscriptionCount",
  reason,
  revoked_by as "revokedBy",
  revoked_at as "revokedAt"
`;

/** Longer than any token lives: an hour in production, a day on a development machine. */
const inForce = sql`interval '7 days'`;

/** The revocations of the session's agency that a living token may still fall under. */
export async function listRevocationsInForce(
  db: Queryable,
): Promise<Pick<Revocation, 'subject' | 'tokenIds' | 'revokedAt'>[]> {
  const { rows } = await db.query<Pick<Revocation, 'subject' | 'tokenIds' | 'revokedAt'>>(sql`
    select subject, token_ids as "tokenIds", revoked_at as "revokedAt"
    from flux.revocations
    where agency_id = (select flux.current_agency())
      and revoked_at > clock_timestamp() - ${inForce}
  `);
  return rows;
}

export async function insertRevocation(
  db: Queryable,
  revocation: Pick<Revocation, 'subject' | 'tokenIds' | 'subscriptionCount' | 'reason' | 'revokedBy'>,
): Promise<Revocation> {
  const { rows } = await db.query<Revocation>(sql`
    insert into flux.revocations (agency_id, subject, token_ids, subscription_count, reason, revoked_by)
    values (flux.current_agency(), ${revocation.subject}, ${revocation.tokenIds}, ${revocation.subscriptionCount},
      ${revocation.reason}, ${revocation.revokedBy})
    returning ${columns}
  `);
  return rows[0] as Revocation;
}

export async function findRevocation(db: Queryable, id: string): Promise<Revocation | null> {
  const { rows } = await db.query<Revocation>(sql`
    select ${columns}
    from flux.revocations
    where agency_id = (select flux.current_agency())
      and revocation_id = ${id}
  `);
  return rows[0] ?? null;
}
