/**
 * How fast the ETL side alone prepares batches, without a database.
 *
 *   npx node bench/etl-rates.ts parquet
 *   npx node bench/etl-rates.ts csv
 *
 * It reads the 3,000,000 flights of vega-datasets (as they are, or written out as CSV first) with a typical contract and
 * prints records per second and the highest resident memory of parent and child.
 */
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { createEtlEngine } from '../src/etl/engine.ts';
import type { PipelineDefinition } from '../src/etl/engine-types.ts';
import { createFileStore } from '../src/objects/file-store.ts';

const data = resolve(import.meta.dirname, '../node_modules/vega-datasets/data');
const kind = process.argv[2] === 'csv' ? 'csv' : 'parquet';
const contract = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Flight',
  type: 'object',
  required: ['date', 'distance', 'origin', 'destination'],
  additionalProperties: false,
  properties: {
    date: { type: 'string', format: 'local-date-time' },
    delay: { type: ['integer', 'null'], minimum: -1500, maximum: 3000 },
    distance: { type: 'integer', minimum: 1, maximum: 6000 },
    origin: { type: 'string', pattern: '^[A-Z0-9]{3}$' },
    destination: { type: 'string', pattern: '^[A-Z0-9]{3}$' },
  },
};

const folder = await mkdtemp(join(tmpdir(), 'flux-bench-'));
try {
  const path = kind === 'csv' ? await writeCsv(folder) : 'flights-3m.parquet';
  await measure(path, kind === 'csv' ? folder : data);
} finally {
  await rm(folder, { recursive: true, force: true });
}

async function writeCsv(into: string): Promise<string> {
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  await connection.run(`
    copy (select strftime(date, '%Y-%m-%dT%H:%M:%S') as date, delay, distance, origin, destination from '${data}/flights-3m.parquet')
    to '${into}/flights.csv' (format csv, header true)`);
  instance.closeSync();
  return 'flights.csv';
}

async function measure(path: string, root: string): Promise<void> {
  const engine = createEtlEngine({
    objects: createFileStore({ folder: join(folder, 'objects'), dataKey: Buffer.alloc(32, 1) }),
    sourceRoots: { bts: [root] },
  });
  const definition: PipelineDefinition = {
    name: 'flights',
    source: { connection: 'files', path, format: { type: kind } },
    transforms: [{ type: 'derive', column: 'late', sql: 'delay > 15' }],
    destination: { type: 'postgres', dataset: 'flights', mode: 'replace' },
    batch: { records: 100_000 },
  };
  const { signal } = new AbortController();
  const workFolder = join(folder, 'work');
  await mkdir(workFolder);
  const started = performance.now();
  const connection = { name: 'files', kind: 'file', config: { roots: ['.'] } };
  const object = await engine.pinSource({ agency: 'bts', connection, source: definition.source, signal });
  const pinned = performance.now();
  const plan = await engine.planSource({ definition, contract, object, workFolder, signal });
  const planned = performance.now();
  print(
    `pin ${Math.round(pinned - started)} ms, plan ${Math.round(planned - pinned)} ms, ${plan.ranges.length} ranges, ${plan.recordsTotal} records`,
  );
  const total = { read: 0, good: 0, rejected: 0 };
  const memory: number[] = [];
  for (const range of plan.ranges) {
    const before = performance.now();
    let read = 0;
    for await (const batch of engine.openBatches({
      definition,
      contract,
      object,
      workFolder,
      signal,
      range,
      cursor: null,
    })) {
      read += batch.recordsRead;
      total.good += batch.goodCount;
      total.rejected += batch.rejected.length;
      memory.push(residentMegabytes());
      await batch.release();
    }
    total.read += read;
    print(`range of ${read}: ${Math.round((read * 1000) / (performance.now() - before))} records/s`);
  }
  const seconds = (performance.now() - planned) / 1000;
  print(`${JSON.stringify(total)} in ${seconds.toFixed(2)} s: ${Math.round(total.read / seconds)} records/s`);
  print(
    `resident, parent and child: first ${memory[0]} MB, middle ${memory[memory.length >> 1]} MB, highest ${Math.max(...memory)} MB`,
  );
}

function residentMegabytes(): number {
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
  const kilobytes = [String(process.pid), ...children].map((pid) =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0),
  );
  return Math.round(kilobytes.reduce((sum, each) => sum + each, 0) / 1024);
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
