import { type LoadTable, measureGroups, smallestCell } from '../db/lake.ts';
import type { Queryable } from '../db/pool.ts';
import type { StepTotal } from '../db/step-counts.ts';
import { FluxError } from '../errors.ts';
import type { PipelineDefinition } from '../etl/engine-types.ts';

/** What sterilisation promised of a load, and what the load itself shows. */
export type PrivacyProof =
  | {
      rule: 'k-anonymity';
      k: number;
      columns: readonly string[];
      groups: number;
      smallest: number | null;
      suppressed: number;
    }
  | { rule: 'minimum-cell'; minimum: number; column: string; smallest: number | null; suppressed: number };

interface Promised {
  kAnonymity?: { k: number; columns: readonly string[] };
  minimumCell?: { count: string; minimum: number };
}

/**
 * Proves on the loaded rows, and not on what the steps say of themselves, that no group and no cell is smaller than the pipeline
 * allows. Where a later step took the columns away there is nothing left to count, and no proof.
 *
 * @throws PRIVACY_NOT_HELD a group or a cell is too small; nothing is published
 */
export async function provePrivacy(
  tx: Queryable,
  { transforms = [] }: PipelineDefinition,
  { table, columns, steps }: { table: LoadTable; columns: readonly string[]; steps: readonly StepTotal[] },
): Promise<PrivacyProof[]> {
  const proofs: PrivacyProof[] = [];
  const suppressed = (name: string): number =>
    steps.filter(({ step }) => step.startsWith(name)).reduce((sum, { recordsFiltered }) => sum + recordsFiltered, 0);
  for (const { kAnonymity, minimumCell } of transforms.filter(({ type }) => type === 'sterilise') as Promised[]) {
    if (kAnonymity?.columns.every((name) => columns.includes(name))) {
      const { k, columns: by } = kAnonymity;
      const sizes = await measureGroups(tx, table, by);
      if (sizes.smallest !== null && sizes.smallest < k)
        refuse(
          `a group of ${String(sizes.smallest)} records alike in ${by.join(', ')}, where ${String(k)} are asked for`,
        );
      proofs.push({ rule: 'k-anonymity', k, columns: by, ...sizes, suppressed: suppressed('k-anonymity') });
    }
    if (minimumCell && columns.includes(minimumCell.count)) {
      const { count: column, minimum } = minimumCell;
      const { smallest, unknown } = await smallestCell(tx, table, column);
      if (unknown > 0 || (smallest !== null && smallest < minimum))
        refuse(`a cell of ${String(smallest)} in ${column}, where ${String(minimum)} are asked for`);
      proofs.push({ rule: 'minimum-cell', minimum, column, smallest, suppressed: suppressed('minimum cell') });
    }
  }
  return proofs;
}

function refuse(what: string): never {
  throw new FluxError(
    'PRIVACY_NOT_HELD',
    `The load holds ${what}. Nothing was published. Sterilise after the steps that make groups smaller.`,
  );
}
