import {
  type Backfill,
  type BackfillDate,
  type BackfillDateStatus,
  type BackfillStep,
  countDates,
  type DateCounts,
  findBackfill,
  listBackfills,
  listDates,
} from '../src/db/backfills.ts';
import * as domain from '../src/domain/backfills.ts';
import { FluxError } from '../src/errors.ts';
import { type Context, read, recordMutationRefusal } from './context.ts';
import { type Page, type PageArgs, pageOf } from './cursor.ts';
import { isUuid } from './ids.ts';
import { type DatedArgs, datedRequest } from './schedule.ts';

export type {
  Backfill,
  BackfillDate,
  BackfillDateStatus,
  BackfillStatus,
  BackfillStep,
  DateCounts,
} from '../src/db/backfills.ts';
export { dateKey } from '../src/domain/advance-backfill.ts';

/** A backfill's id from its global id, or as commands show it; null when it is neither. */
function backfillIdOf(id: string): string | null {
  if (isUuid(id)) return id;
  const [type, key = ''] = Buffer.from(id, 'base64url').toString('utf8').split(':');
  return type === 'Backfill' && isUuid(key) ? key : null;
}

export async function backfill(ctx: Context, id: string): Promise<Backfill | null> {
  const known = backfillIdOf(id);
  return known === null ? null : read(ctx, (tx) => findBackfill(tx, known));
}

export function backfills(ctx: Context, args: PageArgs): Promise<Page<Backfill>> {
  return pageOf(ctx, 'backfills', args, {
    read: (position, limit, backward) =>
      read(ctx, (tx) => listBackfills(tx, { after: position?.[0] ?? null, limit, backward })),
    positionOf: ({ id }) => [id],
  });
}

export function countsOf(ctx: Context, { id }: Backfill): Promise<DateCounts> {
  return read(ctx, (tx) => countDates(tx, id));
}

export interface DatesArgs extends PageArgs {
  status?: BackfillDateStatus | null | undefined;
}

export function datesOf(
  ctx: Context,
  { id }: Backfill,
  { status = null, ...page }: DatesArgs,
): Promise<Page<BackfillDate>> {
  return pageOf(ctx, `dates:${id}:${status ?? ''}`, page, {
    read: (position, limit, backward) =>
      read(ctx, (tx) => listDates(tx, { id, status, after: position?.[0] ?? null, limit, backward })),
    positionOf: ({ date }) => [date],
  });
}

export interface StartBackfillArgs extends DatedArgs {
  firstDate: string;
  lastDate: string;
  step?: BackfillStep | null | undefined;
  concurrency?: number | null | undefined;
}

export function startBackfill(ctx: Context, input: StartBackfillArgs): Promise<Backfill> {
  const { firstDate, lastDate, step = null, concurrency = null } = input;
  return domain.startBackfill(ctx.api, ctx, { ...datedRequest(input), firstDate, lastDate, step, concurrency });
}

export interface ControlBackfillArgs {
  id: string;
  reason?: string | null | undefined;
  idempotencyKey?: string | null | undefined;
}

export function cancelBackfill(ctx: Context, input: ControlBackfillArgs): Promise<Backfill> {
  return control(ctx, input, 'cancelBackfill');
}

export function resumeBackfill(ctx: Context, input: ControlBackfillArgs): Promise<Backfill> {
  return control(ctx, input, 'resumeBackfill');
}

async function control(
  ctx: Context,
  { id, reason = null, idempotencyKey = null }: ControlBackfillArgs,
  verb: 'cancelBackfill' | 'resumeBackfill',
): Promise<Backfill> {
  const known = backfillIdOf(id);
  if (known === null) {
    const error = new FluxError('NOT_FOUND', 'There is no such backfill. List yours with flux backfills list.');
    await recordMutationRefusal(ctx, verb, reason, error);
    throw error;
  }
  return domain[verb](ctx.api, ctx, { id: known, reason, idempotencyKey });
}
