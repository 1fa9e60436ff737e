import type { Queryable } from './pool.ts';
import type { RunStatus } from './run-vocabulary.ts';
import { runConditions, type RunFilter } from './runs.ts';
import { join, sql } from './sql.ts';

export const bulkActions = ['CANCEL', 'RESUME'] as const;
export type BulkAction = (typeof bulkActions)[number];
export const bulkStatuses = ['RUNNING', 'COMPLETED', 'ABORTED'] as const;
export type BulkStatus = (typeof bulkStatuses)[number];
export const bulkItemStatuses = ['PENDING', 'DONE', 'SKIPPED', 'FAILED'] as const;
export type BulkItemStatus = (typeof bulkItemStatuses)[number];

/** An action on many runs, and how far it is. */
export interface BulkOperation {
  id: string;
  action: BulkAction;
  status: BulkStatus;
  filter: Record<string, unknown>;
  reason: string;
  graceSeconds: number | null;
  requestedBy: string;
  role: string;
  clearance: number;
  traceId: string | null;
  ip: string | null;
  userAgent: string | null;
  total: number;
  pending: number;
  done: number;
  skipped: number;
  failed: number;
  createdAt: Date;
  finishedAt: Date | null;
}

export interface BulkItem {
  position: number;
  runId: string;
  status: BulkItemStatus;
  attempts: number;
  errorCode: string | null;
  errorMessage: string | null;
  finishedAt: Date | null;
}

export type NewBulkOperation = Pick<
  BulkOperation,
  | 'action'
  | 'filter'
  | 'reason'
  | 'graceSeconds'
  | 'requestedBy'
  | 'role'
  | 'clearance'
  | 'traceId'
  | 'ip'
  | 'userAgent'
>;

/**
 * Freezes the runs that a filter means now, in the order of their ids, and returns the operation's id. One that means none is
 * over at once.
 *
 * @param limit the operation's `total` is at most this much, plus one
 */
export async function insertBulkOperation(
  tx: Queryable,
  operation: NewBulkOperation,
  { filter, statuses, limit }: { filter: RunFilter; statuses: readonly RunStatus[]; limit: number },
): Promise<{ id: string; total: number }> {
  const { rows } = await tx.query<{ id: string; total: number }>(sql`
    with chosen as (
      select run_id, row_number() over (order by run_id) as position
      from flux.runs
      where ${join(runConditions(filter), ' and ')}
        and status = any (${[...statuses]}::text[])
      order by run_id
      limit ${limit + 1}
    ),
    operation as (
      insert into flux.bulk_operations
        (agency_id, action, status, filter, reason, grace_seconds, requested_by, role, clearance, trace_id, ip, user_agent, total,
          finished_at)
      select flux.current_agency(), ${operation.action}, case when count(*) = 0 then 'COMPLETED' else 'RUNNING' end,
        ${JSON.stringify(operation.filter)}, ${operation.reason}, ${operation.graceSeconds}::int, ${operation.requestedBy},
        ${operation.role}, ${operation.clearance}, ${operation.traceId}, ${operation.ip}, ${operation.userAgent}, count(*),
        case when count(*) = 0 then clock_timestamp() end
      from chosen
      returning agency_id, operation_id, total
    ),
    items as (
      insert into flux.bulk_items (agency_id, operation_id, position, run_id)
      select operation.agency_id, operation.operation_id, chosen.position, chosen.run_id
      from operation, chosen
    )
    select operation_id as id, total
    from operation
  `);
  return rows[0] as { id: string; total: number };
}

const columns = sql`
  o.operation_id as "id",
  o.action,
  o.status,
  o.filter,
  o.reason,
  o.grace_seconds as "graceSeconds",
  o.requested_by as "requestedBy",
  o.role,
  o.clearance,
  o.trace_id as "traceId",
  o.ip,
  o.user_agent as "userAgent",
  o.total,
  i.pending,
  i.done,
  i.skipped,
  i.failed,
  o.created_at as "createdAt",
  o.finished_at as "finishedAt"
`;

const counted = sql`
  flux.bulk_operations o
  cross join lateral (
    select
      count(*) filter (where status = 'PENDING')::int as pending,
      count(*) filter (where status = 'DONE')::int as done,
      count(*) filter (where status = 'SKIPPED')::int as skipped,
      count(*) filter (where status = 'FAILED')::int as failed
    from flux.bulk_items
    where agency_id = o.agency_id
      and operation_id = o.operation_id
  ) i
`;

/** An operation by id; null when none exists for the session's agency and clearance. */
export async function findBulkOperation(db: Queryable, id: string): Promise<BulkOperation | null> {
  const { rows } = await db.query<BulkOperation>(sql`
    select ${columns}
    from ${counted}
    where o.agency_id = (select flux.current_agency())
      and o.operation_id = ${id}
  `);
  return rows[0] ?? null;
}

/**
 * Pages through operations, the newest first.
 *
 * @param backward read the other way round, from `after` on
 * @param limit rows, 1 to 201
 */
export async function listBulkOperations(
  db: Queryable,
  { after, limit, backward }: { after: string | null; limit: number; backward: boolean },
): Promise<BulkOperation[]> {
  const beyond = backward ? sql`o.operation_id > ${after}::uuid` : sql`o.operation_id < ${after}::uuid`;
  const { rows } = await db.query<BulkOperation>(sql`
    select ${columns}
    from ${counted}
    where o.agency_id = (select flux.current_agency())
      and (${after}::uuid is null or ${beyond})
    order by o.operation_id ${backward ? sql`asc` : sql`desc`}
    limit ${limit}
  `);
  return rows;
}

/**
 * Pages through an operation's runs in their order.
 *
 * @param backward read the other way round, from `after` on
 * @param limit rows, 1 to 201
 */
export async function listBulkItems(
  db: Queryable,
  id: string,
  {
    status,
    after,
    limit,
    backward = false,
  }: { status: BulkItemStatus | null; after: number | null; limit: number; backward?: boolean },
): Promise<BulkItem[]> {
  const beyond = backward ? sql`position < ${after}::int` : sql`position > ${after}::int`;
  const { rows } = await db.query<BulkItem>(sql`
    select position, run_id as "runId", status, attempts, error_code as "errorCode", error_message as "errorMessage",
      finished_at as "finishedAt"
    from flux.bulk_items
    where agency_id = (select flux.current_agency())
      and operation_id = ${id}
      and (${after}::int is null or ${beyond})
      and (${status}::text is null or status = ${status})
    order by position ${backward ? sql`desc` : sql`asc`}
    limit ${limit}
  `);
  return rows;
}

/** An operation that was taken, with the tenant context that it is to be worked under. */
export interface BulkClaim {
  agencyId: string;
  operationId: string;
  role: string;
  clearance: number;
}

/** Takes an operation of any agency that nobody works on; null when there is none. */
export async function claimBulkOperation(db: Queryable, holder: string, leaseMs: number): Promise<BulkClaim | null> {
  const { rows } = await db.query<BulkClaim>(sql`
    select agency_id as "agencyId", operation_id as "operationId", role, clearance
    from flux.claim_bulk_operation(${holder}, ${leaseMs})
  `);
  return rows[0] ?? null;
}

/** Extends our hold. False when the operation is over, was aborted, or somebody else works on it. */
export async function keepBulkOperation(
  tx: Queryable,
  { operationId }: BulkClaim,
  holder: string,
  leaseMs: number,
): Promise<boolean> {
  const { rowCount } = await tx.query(sql`
    update flux.bulk_operations
    set lease_expires_at = clock_timestamp() + ${leaseMs} * interval '1 millisecond'
    where agency_id = (select flux.current_agency())
      and operation_id = ${operationId}
      and leased_by = ${holder}
      and status = 'RUNNING'
  `);
  return rowCount === 1;
}

/** Lets go of an operation, so that those that have waited longer come before it. */
export async function releaseBulkOperation(tx: Queryable, { operationId }: BulkClaim, holder: string): Promise<void> {
  await tx.query(sql`
    update flux.bulk_operations
    set leased_by = null,
        lease_expires_at = clock_timestamp()
    where agency_id = (select flux.current_agency())
      and operation_id = ${operationId}
      and leased_by = ${holder}
      and status = 'RUNNING'
  `);
}

/** Says what became of one run of an operation. */
export async function settleBulkItem(
  tx: Queryable,
  { operationId }: BulkClaim,
  item: Pick<BulkItem, 'position' | 'status' | 'errorCode' | 'errorMessage'>,
): Promise<void> {
  await tx.query(sql`
    update flux.bulk_items
    set status = ${item.status},
        attempts = attempts + 1,
        error_code = ${item.errorCode},
        error_message = ${item.errorMessage},
        finished_at = case when ${item.status} <> 'PENDING' then clock_timestamp() end
    where agency_id = (select flux.current_agency())
      and operation_id = ${operationId}
      and position = ${item.position}
      and status = 'PENDING'
  `);
}

/** Ends an operation that is going on. False when it is over already. */
export async function endBulkOperation(tx: Queryable, id: string, status: 'COMPLETED' | 'ABORTED'): Promise<boolean> {
  const { rowCount } = await tx.query(sql`
    update flux.bulk_operations
    set status = ${status},
        leased_by = null,
        lease_expires_at = null,
        finished_at = clock_timestamp()
    where agency_id = (select flux.current_agency())
      and operation_id = ${id}
      and status = 'RUNNING'
  `);
  return rowCount === 1;
}
