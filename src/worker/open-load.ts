import { addDatasetColumns, createDatasetTable, createLoadTable } from '../db/lake.ts';
import { type DatasetColumn, insertLoad, nextLoad, setDatasetColumns } from '../db/loads.ts';
import type { Queryable } from '../db/pool.ts';
import { FluxError } from '../errors.ts';
import type { Work } from './work.ts';

export interface OpenedLoad {
  dataset: string;
  loadNo: bigint;
  /** Columns that the dataset has got for this load. */
  added: DatasetColumn[];
}

/** PostgreSQL cuts longer identifiers without a word, so two columns could become one. */
const columnByteCountMax = 63;

/**
 * Opens the run's load: its number, and its own table, into which batches commit unseen. Makes the dataset at its first use, and gives it
 * new columns where the pipeline lets it evolve.
 *
 * @throws DESTINATION_CONFLICT the dataset has other columns, or a name that cannot be one
 */
export async function openLoad(tx: Queryable, work: Work, columns: readonly DatasetColumn[]): Promise<OpenedLoad> {
  const { claim, lake: schema } = work;
  const { dataset, mode, key, evolve = false } = work.definition.destination;
  requireNames(dataset, columns);
  requireKey(mode, key ?? [], columns);
  const { loadNo, columns: existing } = await nextLoad(tx, claim, { name: dataset, columns });
  const added = evolve ? columns.filter(({ name }) => !existing.some((column) => column.name === name)) : [];
  const evolved = [...existing, ...added];
  requireSameColumns(dataset, evolved, columns);
  const table = { schema, dataset, loadNo };
  await createDatasetTable(tx, table, existing);
  if (added.length > 0) {
    await addDatasetColumns(tx, table, added);
    await setDatasetColumns(tx, claim, { name: dataset, columns: evolved });
  }
  await createLoadTable(tx, table);
  await insertLoad(tx, claim, { dataset, loadNo, mode, columns: columns.map(({ name }) => name) });
  return { dataset, loadNo, added };
}

function requireNames(dataset: string, columns: readonly DatasetColumn[]): void {
  // Such a name could be that of another dataset's load table.
  if (/__l\d+$/.test(dataset)) conflict(`The dataset name ${dataset} ends like a load's. Choose another.`);
  const names = columns.map(({ name }) => name);
  const unfit = names.filter(
    (name, i) => names.indexOf(name) !== i || name.startsWith('_flux_') || Buffer.byteLength(name) > columnByteCountMax,
  );
  if (unfit.length > 0) {
    conflict(
      `These columns come twice, begin with _flux_, or are longer than ${String(columnByteCountMax)} bytes: ${unfit.join(', ')}. Rename them.`,
    );
  }
}

function requireKey(mode: string, key: readonly string[], columns: readonly DatasetColumn[]): void {
  if (mode !== 'merge') return;
  const missing = key.filter((name) => !columns.some((column) => column.name === name));
  if (key.length > 0 && missing.length === 0) return;
  conflict(
    `Mode merge needs a key of the output's columns; ${missing.length > 0 ? `${missing.join(', ')} are not among them` : 'none is given'}.`,
  );
}

function requireSameColumns(
  dataset: string,
  existing: readonly DatasetColumn[],
  offered: readonly DatasetColumn[],
): void {
  const text = (columns: readonly DatasetColumn[]): string[] =>
    columns.map(({ name, type }) => `${name} ${type}`).sort();
  const [has, gets] = [text(existing), text(offered)];
  const missing = has.filter((column) => !gets.includes(column));
  const surplus = gets.filter((column) => !has.includes(column));
  if (missing.length === 0 && surplus.length === 0) return;
  conflict(
    `Dataset ${dataset} has other columns than the pipeline's output. Only the dataset: ${missing.join(', ') || 'none'}. ` +
      `Only the output: ${surplus.join(', ') || 'none'}. Change the pipeline (destination.evolve adds columns), or name another dataset.`,
  );
}

function conflict(message: string): never {
  throw new FluxError('DESTINATION_CONFLICT', message);
}
