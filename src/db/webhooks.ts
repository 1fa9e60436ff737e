import { direction } from './paging.ts';
import type { Queryable } from './pool.ts';
import { type Sql, sql } from './sql.ts';

export const webhookTypes = ['gov.flux.run.completed', 'gov.flux.run.failed', 'gov.flux.run.cancelled'] as const;
export type WebhookType = (typeof webhookTypes)[number];

export interface Webhook {
  id: string;
  url: string;
  description: string | null;
  types: WebhookType[];
  enabled: boolean;
  version: bigint;
  createdBy: string;
  createdAt: Date;
  updatedAt: Date;
}

/** With its secrets, sealed as they are stored. */
export interface SealedWebhook extends Webhook {
  secret: Buffer;
  previousSecret: Buffer | null;
  previousUntil: Date | null;
}

export type DeliveryStatus = 'PENDING' | 'DELIVERED' | 'DEAD';

export interface WebhookDelivery {
  id: string;
  webhookId: string;
  runId: string;
  type: WebhookType;
  status: DeliveryStatus;
  attempts: number;
  /** When it is tried next, while it is PENDING. */
  dueAt: Date;
  lastStatus: number | null;
  lastError: string | null;
  createdAt: Date;
  finishedAt: Date | null;
}

/** A delivery that this sender holds until its lease runs out. */
export interface HeldDelivery {
  id: string;
  attempts: number;
  type: WebhookType;
  runId: string;
  data: Record<string, unknown>;
  occurredAt: Date;
  webhookId: string;
  url: string;
  secret: Buffer;
  previousSecret: Buffer | null;
}

const columns = sql`
  webhook_id as id, url, description, types, enabled, version, created_by as "createdBy", created_at as "createdAt",
  updated_at as "updatedAt"
`;
const sealedColumns = sql`${columns}, secret, previous_secret as "previousSecret", previous_until as "previousUntil"`;
const deliveryColumns = sql`
  delivery_id as id, webhook_id as "webhookId", run_id as "runId", type, status, attempts, due_at as "dueAt",
  last_status as "lastStatus", last_error as "lastError", created_at as "createdAt", finished_at as "finishedAt"
`;
const ownAgency = sql`agency_id = (select flux.current_agency())`;

/** @param lock until the transaction's end */
export async function findWebhook(db: Queryable, id: string, { lock = false } = {}): Promise<SealedWebhook | null> {
  const { rows } = await db.query<SealedWebhook>(sql`
    select ${sealedColumns} from flux.webhooks where ${ownAgency} and webhook_id = ${id} ${lock ? sql`for update` : sql``}
  `);
  return rows[0] ?? null;
}

/** By time of registration. @param limit rows, 1 to 201 */
export async function listWebhooks(
  db: Queryable,
  { after, limit, backward }: { after: string | null; limit: number; backward: boolean },
): Promise<Webhook[]> {
  const { from, order } = direction(backward);
  const beyond = after === null ? sql`` : sql`and webhook_id ${from} ${after}`;
  const { rows } = await db.query<Webhook>(sql`
    select ${columns} from flux.webhooks where ${ownAgency} ${beyond} order by webhook_id ${order} limit ${limit}
  `);
  return rows;
}

export async function countWebhooks(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ n: number }>(sql`select count(*)::int as n from flux.webhooks where ${ownAgency}`);
  return rows[0]?.n ?? 0;
}

export interface NewWebhook {
  id: string;
  url: string;
  description: string | null;
  types: readonly WebhookType[];
  clearance: number;
  secret: Buffer;
  createdBy: string;
}

export async function insertWebhook(db: Queryable, webhook: NewWebhook): Promise<Webhook> {
  const { id, url, description, types, clearance, secret, createdBy } = webhook;
  const { rows } = await db.query<Webhook>(sql`
    insert into flux.webhooks (agency_id, webhook_id, url, description, types, clearance, secret, created_by)
    values (flux.current_agency(), ${id}, ${url}, ${description}, ${types}::text[], ${clearance}, ${secret}::bytea, ${createdBy})
    returning ${columns}
  `);
  return rows[0] as Webhook;
}

export function enableWebhook(db: Queryable, id: string, enabled: boolean): Promise<Webhook | null> {
  return change(db, id, sql`enabled = ${enabled}`);
}

/** The old secret signs beside the new one until `overlapSeconds` are over. */
export function replaceSecret(
  db: Queryable,
  id: string,
  secret: Buffer,
  overlapSeconds: number,
): Promise<Webhook | null> {
  return change(
    db,
    id,
    sql`previous_secret = secret, previous_until = clock_timestamp() + make_interval(secs => ${overlapSeconds}), secret = ${secret}::bytea`,
  );
}

async function change(db: Queryable, id: string, assignments: Sql): Promise<Webhook | null> {
  const { rows } = await db.query<Webhook>(sql`
    update flux.webhooks
    set ${assignments}, version = version + 1, updated_at = clock_timestamp()
    where ${ownAgency} and webhook_id = ${id}
    returning ${columns}
  `);
  return rows[0] ?? null;
}

/** With its deliveries. */
export async function deleteWebhook(db: Queryable, id: string): Promise<void> {
  await db.query(sql`delete from flux.webhooks where ${ownAgency} and webhook_id = ${id}`);
}

export async function listDeliveries(
  db: Queryable,
  {
    webhookId,
    status,
    after,
    limit,
    backward,
  }: { webhookId: string; status: DeliveryStatus | null; after: string | null; limit: number; backward: boolean },
): Promise<WebhookDelivery[]> {
  const { against, reverse } = direction(backward);
  const { rows } = await db.query<WebhookDelivery>(sql`
    select ${deliveryColumns}
    from flux.webhook_deliveries
    where ${ownAgency} and webhook_id = ${webhookId}
      ${status === null ? sql`` : sql`and status = ${status}`}
      ${after === null ? sql`` : sql`and delivery_id ${against} ${after}`}
    order by delivery_id ${reverse}
    limit ${limit}
  `);
  return rows;
}

export async function findDelivery(db: Queryable, id: string): Promise<WebhookDelivery | null> {
  const { rows } = await db.query<WebhookDelivery>(sql`
    select ${deliveryColumns} from flux.webhook_deliveries where ${ownAgency} and delivery_id = ${id}
  `);
  return rows[0] ?? null;
}

/** Puts a finished delivery back into the outbox, with all its attempts before it. */
export async function replayDelivery(db: Queryable, id: string): Promise<WebhookDelivery | null> {
  const { rows } = await db.query<WebhookDelivery>(sql`
    update flux.webhook_deliveries
    set status = 'PENDING', attempts = 0, due_at = clock_timestamp(), finished_at = null
    where ${ownAgency} and delivery_id = ${id} and status <> 'PENDING'
    returning ${deliveryColumns}
  `);
  return rows[0] ?? null;
}

/** Agencies with something to deliver now. Runs as flux_worker. */
export async function dueWebhooks(db: Queryable): Promise<{ agencyId: string; role: string }[]> {
  const { rows } = await db.query<{ agencyId: string; role: string }>(
    sql`select agency_id as "agencyId", rw_role as role from flux.due_webhooks()`,
  );
  return rows;
}

/** Takes what is due; until `leaseSeconds` are over nobody else does. Counts the attempt before it is made. */
export async function claimDeliveries(
  db: Queryable,
  { limit, leaseSeconds }: { limit: number; leaseSeconds: number },
): Promise<HeldDelivery[]> {
  const { rows } = await db.query<HeldDelivery>(sql`
    with due as (
      select d.agency_id, d.delivery_id
      from flux.webhook_deliveries d
      join flux.webhooks w on w.agency_id = d.agency_id and w.webhook_id = d.webhook_id and w.enabled
      where d.agency_id = (select flux.current_agency()) and d.status = 'PENDING' and d.due_at <= clock_timestamp()
      order by d.due_at
      limit ${limit}
      for update of d skip locked
    )
    update flux.webhook_deliveries d
    set attempts = d.attempts + 1, due_at = clock_timestamp() + make_interval(secs => ${leaseSeconds})
    from due, flux.webhooks w
    where d.agency_id = due.agency_id and d.delivery_id = due.delivery_id
      and w.agency_id = d.agency_id and w.webhook_id = d.webhook_id
    returning d.delivery_id as id, d.attempts, d.type, d.run_id as "runId", d.data, d.occurred_at as "occurredAt",
      d.webhook_id as "webhookId", w.url, w.secret,
      case when w.previous_until > clock_timestamp() then w.previous_secret end as "previousSecret"
  `);
  return rows;
}

export interface DeliveryOutcome {
  status: DeliveryStatus;
  /** Of a PENDING one: seconds until the next attempt. */
  retryAfterSeconds: number;
  lastStatus: number | null;
  lastError: string | null;
}

/** Writes down how an attempt ended, unless another sender has taken the delivery since. */
export async function settleDelivery(db: Queryable, held: HeldDelivery, outcome: DeliveryOutcome): Promise<void> {
  const { status, retryAfterSeconds, lastStatus, lastError } = outcome;
  await db.query(sql`
    update flux.webhook_deliveries
    set status = ${status},
        due_at = clock_timestamp() + make_interval(secs => ${retryAfterSeconds}),
        last_status = ${lastStatus},
        last_error = ${lastError},
        finished_at = case when ${status} = 'PENDING' then null else clock_timestamp() end
    where ${ownAgency} and delivery_id = ${held.id} and attempts = ${held.attempts} and status = 'PENDING'
  `);
}
