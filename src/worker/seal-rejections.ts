import { setImmediate } from 'node:timers/promises';

import type { NewRejectedRecord } from '../db/rejected-records.ts';
import type { Connection } from '../db/pool.ts';
import { findSourceObject } from '../db/source-objects.ts';
import { FluxError } from '../errors.ts';
import { sealRejected } from '../keys/sealed-records.ts';
import type { Work } from './work.ts';

/** Records between two turns of the event loop. */
const recordsPerTurn = 100;

/**
 * Reads what refused records are sealed with. What it returns asks the database nothing, so that it may work while the good records are
 * copied: it gives the records as they are kept, where they and what their reasons repeat of them are sealed.
 */
export async function rejectionSealer(
  tx: Connection,
  { deps, claim, definitions }: Work,
  records: readonly NewRejectedRecord[],
): Promise<() => Promise<readonly NewRejectedRecord[]>> {
  if (!deps.keys?.seals || records.length === 0) return () => Promise.resolve(records);
  const key = await deps.keys.newest(tx, claim.agencyId, 'records');
  const source = await findSourceObject(tx, claim);
  if (!source) throw new FluxError('INTERNAL', `Run ${claim.runId} has refused records and no pinned source.`);
  const place = {
    agency: claim.agencyId,
    sourceSha256: source.sha256,
    contractName: definitions.contract?.name ?? null,
    contractVersion: definitions.contract?.version ?? null,
  };
  return async () => {
    const sealed: NewRejectedRecord[] = [];
    for (const { recordNo, byteOffset, raw, reasons } of records) {
      if (sealed.length % recordsPerTurn === 0) await setImmediate();
      const content = sealRejected(key, { ...place, recordNo }, { raw, reasons });
      sealed.push({ recordNo, byteOffset, raw: null, reasons: [], sealed: content });
    }
    return sealed;
  };
}
