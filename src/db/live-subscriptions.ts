import { direction } from './paging.ts';
import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

/** A subscription that somebody has open. */
export interface LiveSubscription {
  /** UUID version 7, given by the process that serves it: in the order of opening. */
  id: string;
  subject: string;
  issuer: string;
  role: string;
  /** `jti` of the token under which it runs now. */
  tokenId: string;
  tokenExpiresAt: Date;
  transport: 'websocket' | 'sse';
  /** The field of `Subscription`. */
  field: string;
  /** What the client calls it. */
  operationName: string | null;
  ip: string;
  userAgent: string | null;
  requestId: string;
  openedAt: Date;
}

const columns = sql`
  subscription_id as "id",
  subject,
  issuer,
  role,
  token_id as "tokenId",
  token_expires_at as "tokenExpiresAt",
  transport,
  field,
  operation_name as "operationName",
  ip,
  user_agent as "userAgent",
  request_id as "requestId",
  opened_at as "openedAt"
`;

/** A process says every ten seconds what it has open; what nobody has said for three times as long is gone. */
const alive = sql`seen_at > clock_timestamp() - interval '30 seconds'`;

/** Writes down what a process has opened, or knows more of now. */
export async function saveLiveSubscriptions(
  db: Queryable,
  serverId: string,
  subscriptions: readonly LiveSubscription[],
): Promise<void> {
  await db.query(sql`
    insert into flux.live_subscriptions (agency_id, subscription_id, server_id, subject, issuer, role, token_id,
      token_expires_at, transport, field, operation_name, ip, user_agent, request_id, opened_at)
    select flux.current_agency(), s.id, ${serverId}, s.subject, s.issuer, s.role, s."tokenId", s."tokenExpiresAt",
      s.transport, s.field, s."operationName", s.ip, s."userAgent", s."requestId", s."openedAt"
    from jsonb_to_recordset(${JSON.stringify(subscriptions)}::jsonb) as s (id uuid, subject text, issuer text, role text,
      "tokenId" text, "tokenExpiresAt" timestamptz, transport text, field text, "operationName" text, ip text,
      "userAgent" text, "requestId" text, "openedAt" timestamptz)
    on conflict (agency_id, subscription_id) do update
    set role = excluded.role,
        token_id = excluded.token_id,
        token_expires_at = excluded.token_expires_at,
        seen_at = clock_timestamp()
  `);
}

/** Takes away what a process has closed, and what processes that are gone have left behind. */
export async function removeLiveSubscriptions(db: Queryable, ids: readonly string[]): Promise<void> {
  await db.query(sql`
    delete from flux.live_subscriptions
    where agency_id = (select flux.current_agency())
      and (subscription_id = any (${ids}::uuid[]) or seen_at < clock_timestamp() - interval '10 minutes')
  `);
}

/** Pages through the open subscriptions of the session's agency, oldest first. @param limit rows, 1 to 201 */
export async function listLiveSubscriptions(
  db: Queryable,
  {
    subject,
    afterId,
    limit,
    backward,
  }: { subject: string | null; afterId: string | null; limit: number; backward?: boolean },
): Promise<LiveSubscription[]> {
  const { from, order } = direction(backward);
  const { rows } = await db.query<LiveSubscription>(sql`
    select ${columns}
    from flux.live_subscriptions
    where agency_id = (select flux.current_agency())
      and ${alive}
      and (${subject}::text is null or subject = ${subject})
      and (${afterId}::uuid is null or subscription_id ${from} ${afterId})
    order by subscription_id ${order}
    limit ${limit}
  `);
  return rows;
}

/** Those of the ids that are open. */
export async function findLiveSubscriptions(db: Queryable, ids: readonly string[]): Promise<LiveSubscription[]> {
  const { rows } = await db.query<LiveSubscription>(sql`
    select ${columns}
    from flux.live_subscriptions
    where agency_id = (select flux.current_agency())
      and ${alive}
      and subscription_id = any (${ids}::uuid[])
    order by subscription_id
  `);
  return rows;
}

/** How many a subject has open. */
export async function countLiveSubscriptions(db: Queryable, subject: string): Promise<number> {
  const { rows } = await db.query<{ count: bigint }>(sql`
    select count(*) as count
    from flux.live_subscriptions
    where agency_id = (select flux.current_agency())
      and ${alive}
      and subject = ${subject}
  `);
  return Number(rows[0]?.count ?? 0n);
}

/** How many run under one of the tokens. */
export async function countLiveUnderTokens(db: Queryable, tokenIds: readonly string[]): Promise<number> {
  const { rows } = await db.query<{ count: bigint }>(sql`
    select count(*) as count
    from flux.live_subscriptions
    where agency_id = (select flux.current_agency())
      and ${alive}
      and token_id = any (${tokenIds}::text[])
  `);
  return Number(rows[0]?.count ?? 0n);
}
