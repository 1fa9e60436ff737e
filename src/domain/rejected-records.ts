import type { Queryable } from '../db/pool.ts';
import type { StoredRejectedRecord } from '../db/rejected-records-read.ts';
import { FluxError } from '../errors.ts';
import type { KeyRing } from '../keys/key-ring.ts';
import { openRejected } from '../keys/sealed-records.ts';

/**
 * Opens the records of a page that are sealed.
 *
 * @throws OBJECT_CORRUPTED one was changed, or stands in another's place
 * @throws KEY_UNAVAILABLE their key is destroyed, or this process has none
 */
export async function openRejectedRecords(
  { keys }: { keys?: KeyRing | undefined },
  db: Queryable,
  agency: string,
  records: readonly StoredRejectedRecord[],
): Promise<StoredRejectedRecord[]> {
  const opened: StoredRejectedRecord[] = [];
  for (const record of records) {
    const { sealed, sourceSha256, recordNo, contractName, contractVersion } = record;
    if (sealed === null) {
      opened.push(record);
      continue;
    }
    if (!keys || sourceSha256 === null) {
      throw new FluxError(
        'KEY_UNAVAILABLE',
        'The rejected records are sealed, and this process has no keys. Set FLUX_DATA_KEY.',
      );
    }
    const place = { agency, sourceSha256, recordNo, contractName, contractVersion };
    const { raw, reasons } = await openRejected({ keys, db }, place, sealed);
    opened.push({ ...record, raw, reasons: [...reasons] });
  }
  return opened;
}
