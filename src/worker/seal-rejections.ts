import type { NewRejectedRecord } from '../db/rejected-records.ts';
import type { Connection } from '../db/pool.ts';
import { findSourceObject } from '../db/source-objects.ts';
import { FluxError } from '../errors.ts';
import { sealRejected } from '../keys/sealed-records.ts';
import type { Work } from './work.ts';

/** Refused records as they are kept: the records and what their reasons repeat of them are sealed. */
export async function sealRejections(
  tx: Connection,
  { deps, claim, definitions }: Work,
  records: readonly NewRejectedRecord[],
): Promise<readonly NewRejectedRecord[]> {
  if (!deps.keys?.seals || records.length === 0) return records;
  const key = await deps.keys.newest(tx, claim.agencyId, 'records');
  const source = await findSourceObject(tx, claim);
  if (!source) throw new FluxError('INTERNAL', `Run ${claim.runId} has refused records and no pinned source.`);
  const place = {
    agency: claim.agencyId,
    sourceSha256: source.sha256,
    contractName: definitions.contract?.name ?? null,
    contractVersion: definitions.contract?.version ?? null,
  };
  return records.map(({ recordNo, byteOffset, raw, reasons }) => ({
    recordNo,
    byteOffset,
    raw: null,
    reasons: [],
    sealed: sealRejected(key, { ...place, recordNo }, { raw, reasons }),
  }));
}
