/**
 * What is usually written by hand, as a process of its own: csv-parse, Ajv on each record, and batches of 100,000 in one transaction each
 * with their refused records. No checkpoint, no events. Prints one line: how many records were good and how many were not.
 *
 *   node bench/csv-parse-ajv.ts DATABASE_URL FILE.csv TABLE
 */
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { parse } from 'csv-parse';
import pg from 'pg';
import pgCopyStreams from 'pg-copy-streams';

import { ingestContract } from './ingest-data.ts';

type Cell = string | number | boolean | null | undefined;

const batchRecords = 100_000;
const [url = '', file = '', table = ''] = process.argv.slice(2);

const ajv = new Ajv2020({ coerceTypes: true, allErrors: true });
addFormats.default(ajv);
const check = ajv.compile(ingestContract);
const columns = Object.keys(ingestContract.properties);

const client = new pg.Client({ connectionString: url });
await client.connect();
let good: string[] = [];
let bad: { record: number; raw: string; reasons: string }[] = [];
const counts = { good: 0, bad: 0 };
let record = 0;

const cells = parse({ columns: true, cast: (value) => (value === '' ? undefined : value) });
createReadStream(file).pipe(cells);
for await (const each of cells as AsyncIterable<Record<string, Cell>>) {
  record += 1;
  const raw = { ...each };
  if (check(each)) good.push(`${columns.map((name) => escaped(each[name])).join('\t')}\n`);
  else bad.push({ record, raw: JSON.stringify(raw), reasons: JSON.stringify(check.errors) });
  if (record % batchRecords === 0) await flush();
}
await flush();
await client.end();
process.stdout.write(`${JSON.stringify(counts)}\n`);

async function flush(): Promise<void> {
  if (good.length + bad.length === 0) return;
  await client.query('begin');
  const copy = client.query(pgCopyStreams.from(`copy ${table} from stdin`));
  await pipeline(Readable.from(good), copy);
  await client.query(`insert into ${table}_refused select * from unnest($1::bigint[], $2::text[], $3::text[])`, [
    bad.map((each) => each.record),
    bad.map((each) => each.raw),
    bad.map((each) => each.reasons),
  ]);
  await client.query('commit');
  counts.good += good.length;
  counts.bad += bad.length;
  [good, bad] = [[], []];
}

function escaped(value: Cell): string {
  if (value === undefined || value === null) return '\\N';
  return String(value).replace(
    /[\\\t\n\r]/g,
    (letter) => ({ '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' })[letter] ?? letter,
  );
}
