import {
  attachLoad,
  countRowsWithoutKey,
  dropAttachedLoads,
  type LoadTable,
  removeEarlierDuplicates,
  removeReplacedRows,
} from '../db/lake.ts';
import { countReplaced, type LoadMode, supersedeLoads } from '../db/loads.ts';
import type { Queryable } from '../db/pool.ts';
import { FluxError } from '../errors.ts';
import type { Work } from './work.ts';

/** What showing a load did to the dataset. */
export interface Placement {
  /** Earlier loads that are gone. */
  superseded: number;
  /** Rows of earlier loads whose key the load has too. */
  replaced: number;
  /** Rows of the load itself that a later one with the same key has replaced. */
  duplicates: number;
}

/**
 * Makes the load part of its dataset: beside the earlier ones, in their place, or by key over them. The dataset's readers see
 * all of it when the transaction commits.
 *
 * @throws DESTINATION_CONFLICT merge: a row has no key
 */
export async function placeLoad(tx: Queryable, work: Work, table: LoadTable, mode: LoadMode): Promise<Placement> {
  const placement = await makeRoom(tx, work, table, mode);
  await attachLoad(tx, table);
  return placement;
}

async function makeRoom(tx: Queryable, work: Work, table: LoadTable, mode: LoadMode): Promise<Placement> {
  switch (mode) {
    case 'append':
      return { superseded: 0, replaced: 0, duplicates: 0 };
    case 'replace': {
      const superseded = await supersedeLoads(tx, work.claim, table.dataset);
      await dropAttachedLoads(tx, table);
      return { superseded: superseded.length, replaced: 0, duplicates: 0 };
    }
    case 'merge': {
      const key = work.definition.destination.key ?? [];
      await requireKeys(tx, table, key);
      const duplicates = await removeEarlierDuplicates(tx, table, key);
      const gone = await removeReplacedRows(tx, table, key);
      await countReplaced(tx, work.claim, table.dataset, gone);
      return { superseded: 0, replaced: gone.reduce((sum, { count }) => sum + Number(count), 0), duplicates };
    }
  }
}

/** A row without a key equals no other, so each load would add it again. */
async function requireKeys(tx: Queryable, table: LoadTable, key: readonly string[]): Promise<void> {
  const count = await countRowsWithoutKey(tx, table, key);
  if (count === 0) return;
  throw new FluxError(
    'DESTINATION_CONFLICT',
    `${String(count)} records have no value in the key (${key.join(', ')}), so they cannot be merged. ` +
      'Require these columns in the contract, or choose another key. Nothing was published.',
  );
}
