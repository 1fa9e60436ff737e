import path from 'node:path';

import { DuckDBInstance } from '@duckdb/node-api';

/** The files of one number of records: the same rows in each format, and the good ones alone for `psql \copy`. */
export interface IngestFiles {
  rows: number;
  csv: string;
  /** null, like those below: only CSV was wanted. */
  parquet: string | null;
  ndjson: string | null;
  /** Good rows, typed, without a header: nothing is left to check. */
  clean: string | null;
  cleanRows: number;
}

/** In each hundred rows, the one that breaks its contract, each rule in turn. */
const badEvery = 100;

/** Of a load: ten columns with types, required values, choices, a pattern and ranges. */
export const ingestContract = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'A permit',
  type: 'object',
  required: ['id', 'agency', 'kind', 'code', 'issued_on', 'amount', 'quantity'],
  additionalProperties: false,
  properties: {
    id: { type: 'integer', minimum: 1 },
    agency: { type: 'string', minLength: 2 },
    kind: { type: 'string', enum: ['new', 'renewal', 'transfer', 'appeal'] },
    code: { type: 'string', pattern: '^[A-Z]{2}-[0-9]{6}$' },
    issued_on: { type: 'string', format: 'date' },
    amount: { type: 'number', minimum: 0, maximum: 1_000_000 },
    quantity: { type: 'integer', minimum: 1, maximum: 1_000 },
    state: { type: 'string', enum: ['CA', 'NY', 'TX', 'WA', 'OR', 'NV', 'FL', 'IL'] },
    active: { type: 'boolean' },
    note: { type: ['string', 'null'], maxLength: 200 },
  },
} as const;

/** What a database keeps of a good row. */
export const cleanColumns =
  'id bigint, agency text, kind text, code text, issued_on date, amount double precision, quantity bigint, state text, active boolean, note text';

/** Rows as texts; every hundredth is bad, by a number, a choice, a pattern, a range or an absent value. */
function rowsQuery(rows: number): string {
  const bad = (which: number): string =>
    `(i % ${String(badEvery)} = 0 and (i // ${String(badEvery)}) % 5 = ${String(which)})`;
  return `
    select i::varchar as id,
      case when ${bad(4)} then null else ['EPA', 'DOI', 'USDA', 'NOAA', 'FERC', 'BLM'][1 + i % 6] end as agency,
      case when ${bad(1)} then 'unknown' else ['new', 'renewal', 'transfer', 'appeal'][1 + i % 4] end as kind,
      case when ${bad(2)} then 'ab_12' else chr(65 + (i % 26)::int) || chr(65 + (i % 7)::int) || '-' || lpad((i * 7919 % 1000000)::varchar, 6, '0') end as code,
      (date '2015-01-01' + (i % 3650)::int)::varchar as issued_on,
      case when ${bad(0)} then 'n/a' else (i * 7907 % 99999937 / 100.0)::decimal(12, 2)::varchar end as amount,
      case when ${bad(3)} then '5000' else (1 + i % 1000)::varchar end as quantity,
      ['CA', 'NY', 'TX', 'WA', 'OR', 'NV', 'FL', 'IL'][1 + i % 8] as state,
      (i % 3 = 0)::varchar as active,
      case when i % 4 = 0 then null when i % 50 = 1 then 'see "annex ' || i % 10 || '", page 2' else 'permit no ' || i * 31 % 100000 end as note,
      i % ${String(badEvery)} <> 0 as good
    from range(1, ${String(rows + 1)}) r (i)`;
}

const names = Object.keys(ingestContract.properties).join(', ');
/** A wrong number stands as text in JSON; in Parquet, whose columns have types, it is one beyond the range. */
const typedInJson = `id::bigint as id, agency, kind, code, issued_on,
  case when amount = 'n/a' then to_json('n/a') else to_json(amount::double) end as amount, quantity::bigint as quantity, state, active::boolean as active, note`;
const typedInParquet = `id::bigint as id, agency, kind, code, issued_on, coalesce(try_cast(amount as double), -1) as amount,
  quantity::bigint as quantity, state, active::boolean as active, note`;

/** Writes them into a folder. @param onlyCsv no other format is wanted, and no clean rows */
export async function writeIngestFiles(folder: string, rows: number, { onlyCsv = false } = {}): Promise<IngestFiles> {
  const instance = await DuckDBInstance.create(':memory:', { memory_limit: '2GB', temp_directory: folder });
  const connection = await instance.connect();
  const query = rowsQuery(rows);
  const write = async (select: string, name: string, options: string): Promise<string> => {
    const file = path.join(folder, name);
    await connection.run(`copy (select ${select}) to '${file.replaceAll("'", "''")}' (${options})`);
    return file;
  };
  const file = `rows-${String(rows)}`;
  const csv = await write(`${names} from (${query})`, `${file}.csv`, 'format csv, header true');
  const [parquet, ndjson, clean] = onlyCsv
    ? [null, null, null]
    : [
        await write(`${typedInParquet} from (${query})`, `${file}.parquet`, 'format parquet'),
        await write(`${typedInJson} from (${query})`, `${file}.ndjson`, 'format json'),
        await write(`${names} from (${query}) where good`, 'clean.csv', 'format csv, header false'),
      ];
  connection.closeSync();
  instance.closeSync();
  return { rows, csv, parquet, ndjson, clean, cleanRows: rows - Math.floor(rows / badEvery) };
}
