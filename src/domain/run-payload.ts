import type { Queryable } from '../db/pool.ts';
import type { Run } from '../db/runs.ts';
import type { KeyRing } from '../keys/key-ring.ts';
import { openPayload, sealPayload } from '../keys/sealed-records.ts';
import { FluxError } from '../errors.ts';

/** What is no content stays readable to who may see the run but not its data. */
export const openNames = ['agency', 'content_type', 'use_case', 'stage', 'dry_run', 'full', 'checkpoint_id'];

/** A new run's payload as it is stored: sealed, save for what is no content, when the installation seals. */
export async function storePayload(
  { keys }: { keys?: KeyRing | undefined },
  tx: Queryable,
  { agency, runId }: { agency: string; runId: string },
  payload: Record<string, unknown>,
): Promise<{ payload: Record<string, unknown>; payloadSealed: Buffer | null }> {
  if (!keys?.seals) return { payload, payloadSealed: null };
  const key = await keys.newest(tx, agency, 'records');
  return { payload: withoutContent(payload), payloadSealed: sealPayload(key, { agency, runId }, payload) };
}

/**
 * A run's whole payload.
 *
 * @throws OBJECT_CORRUPTED it was changed, or is another run's
 * @throws KEY_UNAVAILABLE its key is destroyed, or this process has none
 */
export async function readPayload(
  { keys }: { keys?: KeyRing | undefined },
  db: Queryable,
  { agency, id, payload, payloadSealed }: Pick<Run, 'agency' | 'id' | 'payload' | 'payloadSealed'>,
): Promise<Record<string, unknown>> {
  if (payloadSealed === null) return payload;
  if (keys) return openPayload({ keys, db }, { agency, runId: id }, payloadSealed);
  throw new FluxError(
    'KEY_UNAVAILABLE',
    `The payload of run ${id} is sealed, and this process has no keys. Set FLUX_DATA_KEY.`,
  );
}

/** A payload as the audit log keeps it: what was sealed must not stand there in plain text. */
export function auditedPayload(
  { keys }: { keys?: KeyRing | undefined },
  payload: Record<string, unknown>,
): Record<string, unknown> {
  return keys?.seals ? { ...withoutContent(payload), sealed: true } : payload;
}

export function withoutContent(payload: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(payload).filter(([name]) => openNames.includes(name)));
}
