import { type LoadTable, measureGroups, smallestCell } from '../db/lake.ts';
import type { Queryable } from '../db/pool.ts';
import type { StepTotal } from '../db/step-counts.ts';
import { FluxError } from '../errors.ts';
import type { PipelineDefinition } from '../etl/engine-types.ts';
import { columnName } from '../etl/ingest/column-names.ts';

/**
 * Whether totals stand beside suppressed cells: the steps can make none, the pipeline says so, or the records may have brought some (a
 * joined dataset).
 */
type Complementary = 'no totals' | 'vouched for' | 'not checked';

/** What sterilisation promised of a load, and what the load itself shows. */
export type PrivacyProof = { suppressed: number } & (
  | { rule: 'k-anonymity'; k: number; columns: readonly string[]; groups: number; smallest: number | null }
  | { rule: 'minimum-cell'; minimum: number; column: string; smallest: number | null; complementary: Complementary }
  /** Nothing is left to count: what was promised held where it was done, and nobody has looked at what became of it. */
  | { rule: 'k-anonymity'; k: number; columns: readonly string[]; proved: false }
  | { rule: 'minimum-cell'; minimum: number; column: string; proved: false }
);

interface Promised {
  kAnonymity?: { k: number; columns: readonly string[] };
  minimumCell?: { count: string; minimum: number; totals?: 'none' };
}

interface Loaded {
  table: LoadTable;
  columns: readonly string[];
}

/**
 * Proves on the loaded rows, and not on what the steps say of themselves, that no group and no cell is smaller than the pipeline
 * allows. Columns are followed through later renames; where a later step took them away there is nothing left to count, and the proof says
 * so.
 *
 * @throws PRIVACY_NOT_HELD a group or a cell is too small; nothing is published
 */
export async function provePrivacy(
  tx: Queryable,
  { transforms = [] }: PipelineDefinition,
  { table, columns, steps }: Loaded & { steps: readonly StepTotal[] },
): Promise<PrivacyProof[]> {
  const proofs: PrivacyProof[] = [];
  const suppressedBy = (step: string): number =>
    steps.filter((each) => each.step === step.slice(0, 100)).reduce((sum, each) => sum + each.recordsFiltered, 0);
  for (const { kAnonymity, minimumCell, before, now, then } of promisesOf(transforms, columns)) {
    if (kAnonymity) {
      const { k } = kAnonymity;
      const by = now(kAnonymity.columns);
      const suppressed = suppressedBy(`k-anonymity ${String(k)} of ${kAnonymity.columns.map(then).join(', ')}`);
      if (by === null) proofs.push({ rule: 'k-anonymity', k, columns: kAnonymity.columns, proved: false, suppressed });
      else {
        const sizes = await measureGroups(tx, table, by);
        if (sizes.smallest !== null && sizes.smallest < k) refuse('load', groupOf(sizes.smallest, by, k));
        proofs.push({ rule: 'k-anonymity', k, columns: by, ...sizes, suppressed });
      }
    }
    if (minimumCell) {
      const { count, minimum } = minimumCell;
      const [column] = now([count]) ?? [];
      const suppressed = suppressedBy(`minimum cell ${String(minimum)} of ${then(count)}`);
      if (column === undefined)
        proofs.push({ rule: 'minimum-cell', minimum, column: count, proved: false, suppressed });
      else {
        const { smallest, unknown } = await smallestCell(tx, table, column);
        if (unknown > 0 || (smallest !== null && smallest < minimum))
          refuse('load', `a cell of ${String(smallest)} in ${column}, where ${String(minimum)} are asked for`);
        proofs.push({
          rule: 'minimum-cell',
          minimum,
          column,
          smallest,
          complementary: complementaryOf(before, minimumCell),
          suppressed,
        });
      }
    }
  }
  return proofs;
}

/**
 * Proves the same of the dataset as its readers would see it once a load is merged: a record that replaces another leaves the group in which
 * that one was counted, and of a load's own records with one key the last stays. Loads that are appended only make groups larger.
 *
 * @throws PRIVACY_NOT_HELD a group of the dataset would be too small; nothing is published
 */
export async function proveMergedPrivacy(
  tx: Queryable,
  { transforms = [] }: PipelineDefinition,
  { table, columns }: Loaded,
): Promise<void> {
  for (const { kAnonymity, now } of promisesOf(transforms, columns)) {
    const by = kAnonymity && now(kAnonymity.columns);
    if (!kAnonymity || !by) continue;
    const { smallest } = await measureGroups(tx, table, by, { of: 'dataset' });
    if (smallest !== null && smallest < kAnonymity.k)
      refuse('dataset, once the load is merged into it,', groupOf(smallest, by, kAnonymity.k));
  }
}

/** Queries that could give totals do not come to a load unless the pipeline vouches for them: see transform/segments.ts. */
function complementaryOf(before: readonly string[], { totals }: { totals?: 'none' }): Complementary {
  // What was counted elsewhere may hold totals already.
  if (before.includes('join') || !before.some((type) => type === 'aggregate' || type === 'sql')) return 'not checked';
  return totals === 'none' ? 'vouched for' : 'no totals';
}

interface PlacedPromise extends Promised {
  /** The types of the transforms before it. */
  before: readonly string[];
  /** What the columns are called in the load; null where one is not there any more. */
  now(columns: readonly string[]): string[] | null;
  /** What the step called a column. */
  then(column: string): string;
}

function promisesOf(
  transforms: NonNullable<PipelineDefinition['transforms']>,
  columns: readonly string[],
): PlacedPromise[] {
  return transforms.flatMap((transform, at) => {
    if (transform.type !== 'sterilise') return [];
    const renames = transforms
      .slice(at + 1)
      .filter(({ type }) => type === 'rename')
      .map(({ columns: names }) => names as Readonly<Record<string, string>>);
    const follow = (name: string): string => renames.reduce((current, names) => newName(current, names), name);
    // Columns may be named as the source names them.
    const plain = (asked: string): string => (columns.includes(follow(asked)) ? asked : columnName([asked]));
    return [
      {
        ...(transform as Promised),
        before: transforms.slice(0, at).map(({ type }) => type),
        now(asked) {
          const names = asked.map((name) => follow(plain(name)));
          return names.every((name) => columns.includes(name)) ? names : null;
        },
        then: plain,
      } satisfies PlacedPromise,
    ];
  });
}

function newName(name: string, renames: Readonly<Record<string, string>>): string {
  const [, to] = Object.entries(renames).find(([from]) => from === name || columnName([from]) === name) ?? [];
  return to ?? name;
}

function groupOf(size: number, by: readonly string[], k: number): string {
  return `a group of ${String(size)} records alike in ${by.join(', ')}, where ${String(k)} are asked for`;
}

function refuse(whose: string, what: string): never {
  const advice =
    whose === 'load'
      ? 'Sterilise after the steps that make groups smaller.'
      : 'Load what changes groups with the mode replace.';
  throw new FluxError(
    'PRIVACY_NOT_HELD',
    `The ${whose} ${whose === 'load' ? 'holds' : 'would hold'} ${what}. Nothing was published. ${advice}`,
  );
}
