import { FluxError } from '../../errors.ts';
import { ident, literal } from '../duckdb/sql-text.ts';
import type { DuckDbSession } from '../duckdb/session.ts';
import type { LocalReference } from '../protocol.ts';
import type { ReferenceColumn } from '../staged-types.ts';

const duckTypes: Readonly<Record<string, string>> = {
  bigint: 'BIGINT',
  'double precision': 'DOUBLE',
  text: 'VARCHAR',
  boolean: 'BOOLEAN',
  date: 'DATE',
  timestamp: 'TIMESTAMP',
  timestamptz: 'TIMESTAMP WITH TIME ZONE',
  jsonb: 'JSON',
};
/** What a cast to numeric makes too, so that the type of a column seldom depends on its values. */
const scaleUsual = 10;

/** DuckDB's type for a column of a dataset. */
export function referenceType({ type, scale = 0 }: ReferenceColumn): string {
  return type === 'numeric' ? `DECIMAL(38,${String(Math.max(scale, scaleUsual))})` : (duckTypes[type] ?? 'VARCHAR');
}

/** Which of several records counts that have one key. */
export type Duplicates = 'refuse' | 'first' | 'last';

/** What one join reads: by key, and what it adds. */
export interface ReferenceTable {
  /** Its columns are `_flux_k0`, ..., `_flux_c0`, ... and `_flux_matched`. */
  name: string;
  key: readonly ReferenceColumn[];
  columns: readonly ReferenceColumn[];
  duplicates: Duplicates;
}

/**
 * Reads a dataset's records into a table with one row for each key. Where a part of the key is null, the record joins nothing and is
 * left out.
 *
 * @throws REFERENCE_AMBIGUOUS a key stands for several records
 * @throws OBJECT_CORRUPTED the file holds another number of records than were pinned
 * @throws TRANSFORM_FAILED a value does not fit its type
 */
export async function loadReference(
  session: DuckDbSession,
  reference: LocalReference,
  { name, key, columns, duplicates }: ReferenceTable,
): Promise<void> {
  const { dataset } = reference;
  const cast = (column: ReferenceColumn): string => `${ident(column.name)}::${referenceType(column)}`;
  const keys = key.map((column, at) => `${cast(column)} as _flux_k${String(at)}`);
  const values = columns.map((column, at) => `${cast(column)} as _flux_c${String(at)}`);
  const keyNames = key.map((_column, at) => `_flux_k${String(at)}`);
  const present = key.map((column) => `${ident(column.name)} is not null`).join(' and ');
  const file = readCsv(reference);
  // By number and not by a window over the rows, which would need the memory for all of them twice.
  const chosen = `
    and _flux_order::bigint in (
      select ${duplicates === 'last' ? 'max' : 'min'}(_flux_order::bigint)
      from ${file}
      where ${present}
      group by ${key.map(cast).join(', ')}
    )`;
  try {
    const [row] = await session.rows(`select count(*) from ${file}`);
    requireCount(reference, Number(row?.[0]));
    await session.run(`
      create temp table ${name} as
      select ${[...keys, ...values].join(', ')}, true as _flux_matched
      from ${file}
      where ${present}
      ${duplicates === 'refuse' ? '' : chosen}`);
    if (duplicates !== 'refuse') return;
    const [counts] = await session.rows(`
      select count(*), sum(n) from (
        select count(*) as n from ${name} group by ${keyNames.join(', ')} having count(*) > 1
      )`);
    requireUnique(dataset, key, { keys: Number(counts?.[0]), records: Number(counts?.[1] ?? 0) });
  } catch (cause) {
    if (cause instanceof FluxError) throw cause;
    const [line = ''] = (cause as Error).message.split('\n');
    throw new FluxError('TRANSFORM_FAILED', `The dataset ${dataset} cannot be joined: ${line}.`, { cause });
  }
}

/** All as text: what is null, and what an empty text, is told apart by the quotes; the casts are ours. */
function readCsv({ path, columns }: LocalReference): string {
  const names = ['_flux_order', ...columns.map(({ name }) => name)];
  const types = names.map((name) => `${literal(name)}: 'VARCHAR'`).join(', ');
  return (
    `read_csv(${literal(path)}, header = true, auto_detect = false, delim = ',', quote = '"', escape = '"', ` +
    `nullstr = '', allow_quoted_nulls = false, max_line_size = ${String(lineBytesMax)}, columns = {${types}})`
  );
}

const lineBytesMax = 8_388_608;

function requireCount({ dataset, records }: LocalReference, found: number): void {
  if (found === records) return;
  throw new FluxError(
    'OBJECT_CORRUPTED',
    `The pinned records of the dataset ${dataset} are ${String(records)}, and ${String(found)} were read. Rerun the run.`,
  );
}

function requireUnique(
  dataset: string,
  key: readonly ReferenceColumn[],
  { keys, records }: { keys: number; records: number },
): void {
  if (keys === 0) return;
  const names = key.map(({ name }) => name).join(', ');
  throw new FluxError(
    'REFERENCE_AMBIGUOUS',
    `In the dataset ${dataset} ${String(records)} records share ${String(keys)} values of its key (${names}), so a record could join several. ` +
      'Join by a key that is unique, or say in the transform which counts (duplicates: first or last).',
  );
}
