import { type Dataset, findPublishedLoad } from '../db/datasets-read.ts';
import type { LakeReader } from '../db/lake-reader.ts';
import type { Connection } from '../db/pool.ts';
import { FluxError } from '../errors.ts';

/** Some records of a load. */
export interface DatasetPreview {
  /** Null when there is no published load that the caller may see. */
  loadNo: bigint | null;
  rows: { recordNo: bigint; values: (string | null)[] }[];
  /** A value was cut, or rows were left out because they are large. */
  cut: boolean;
}

const rowsDefault = 20;
const rowsMax = 100;
/** Characters of a value. */
const valueLengthMax = 256;
/** Characters of all values together. */
const previewLengthMax = 500_000;

export interface PreviewDeps {
  /** Absent where the process may not read lakes. */
  lake?: LakeReader | undefined;
}

export interface PreviewRequest {
  agency: string;
  dataset: Pick<Dataset, 'name' | 'columns'>;
  /** Null is the newest. */
  loadNo: bigint | null;
  /** Null is 20. */
  first: number | null;
  signal: AbortSignal;
}

/**
 * Reads some records of one published load: under the caller's tenant context whether it exists for the caller, its clearance
 * included, and then its records as the agency's own reading login.
 *
 * @param read runs under the caller's tenant context
 * @throws INVALID_INPUT, LIMIT_EXCEEDED the number of rows
 * @throws NOT_FOUND there is no such published load
 * @throws UNAVAILABLE the lake cannot be read now
 */
export async function previewDataset(
  deps: PreviewDeps,
  read: <T>(work: (tx: Connection) => Promise<T>) => Promise<T>,
  { agency, dataset, loadNo, first, signal }: PreviewRequest,
): Promise<DatasetPreview> {
  const limit = rowsOf(first);
  const load = await read((tx) => findPublishedLoad(tx, dataset.name, loadNo));
  if (!load) {
    if (loadNo === null) return { loadNo: null, rows: [], cut: false };
    throw new FluxError(
      'NOT_FOUND',
      `Dataset ${dataset.name} has no published load ${String(loadNo)}. Ask for its loads, or leave the number out for the newest.`,
    );
  }
  if (!deps.lake) throw new FluxError('UNAVAILABLE', 'This process cannot read datasets.');
  const rows = await deps.lake.read({
    agency,
    database: load.database,
    dataset: dataset.name,
    loadNo: load.loadNo,
    columns: dataset.columns.map(({ name }) => name),
    limit,
    valueLength: valueLengthMax,
    signal,
  });
  return { loadNo: load.loadNo, ...withinBounds(rows) };
}

function rowsOf(first: number | null): number {
  const limit = first ?? rowsDefault;
  if (limit < 1) {
    throw new FluxError('INVALID_INPUT', `first is ${String(limit)}; pass 1 to ${String(rowsMax)}.`);
  }
  if (limit > rowsMax) {
    throw new FluxError(
      'LIMIT_EXCEEDED',
      `first is ${String(limit)}; a preview has at most ${String(rowsMax)} records. Read the dataset itself with the agency’s reading login.`,
    );
  }
  return limit;
}

function withinBounds(rows: DatasetPreview['rows']): Pick<DatasetPreview, 'rows' | 'cut'> {
  let [length, cut] = [0, false];
  const shown: DatasetPreview['rows'] = [];
  for (const { recordNo, values } of rows) {
    const short = values.map((value) => {
      if (value === null || value.length <= valueLengthMax) return value;
      cut = true;
      return `${value.slice(0, valueLengthMax)}…`;
    });
    length += short.reduce((sum, value) => sum + (value?.length ?? 0), 0);
    if (length > previewLengthMax && shown.length > 0) return { rows: shown, cut: true };
    shown.push({ recordNo, values: short });
  }
  return { rows: shown, cut };
}
