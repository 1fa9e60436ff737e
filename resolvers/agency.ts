import { type Agency, readOwnAgency } from '../src/db/agencies-read.ts';
import { legalHoldOf } from '../src/db/agency-holds.ts';
import { liftLegalHold as lift, setLegalHold as set } from '../src/domain/legal-hold.ts';
import { type UpdateAgency, updateAgency as update } from '../src/domain/update-agency.ts';
import { type Context, read } from './context.ts';

export type { Agency } from '../src/db/agencies-read.ts';
export type { LegalHold } from '../src/db/agency-holds.ts';
export { legalHoldOf };

/** The caller's own agency. Another's slug reads as null, whether it exists or not. */
export async function agency(ctx: Context, slug: string | null | undefined): Promise<Agency | null> {
  if (slug !== null && slug !== undefined && slug !== ctx.principal.agency) {
    ctx.trace.refused('Query.agency', 'DATA_ISOLATION');
    return null;
  }
  return read(ctx, readOwnAgency);
}

export interface UpdateAgencyArgs {
  name?: string | null | undefined;
  abbreviation?: string | null | undefined;
  retentionDays?: number | null | undefined;
  reason?: string | null | undefined;
  idempotencyKey?: string | null | undefined;
}

export function updateAgency(ctx: Context, input: UpdateAgencyArgs): Promise<Agency> {
  const asked: UpdateAgency = {
    name: input.name ?? null,
    abbreviation: input.abbreviation ?? null,
    retentionDays: input.retentionDays ?? null,
    reason: input.reason ?? null,
    idempotencyKey: input.idempotencyKey ?? null,
  };
  return update(ctx.api, ctx, asked);
}

export interface LegalHoldArgs {
  reason: string;
  idempotencyKey?: string | null | undefined;
}

export function setLegalHold(ctx: Context, { reason, idempotencyKey }: LegalHoldArgs): Promise<Agency> {
  return set(ctx.api, ctx, { reason, idempotencyKey: idempotencyKey ?? null });
}

export function liftLegalHold(ctx: Context, { reason, idempotencyKey }: LegalHoldArgs): Promise<Agency> {
  return lift(ctx.api, ctx, { reason, idempotencyKey: idempotencyKey ?? null });
}
