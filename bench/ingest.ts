/**
 * Ingest against `psql \copy` of the same rows, already clean and typed, on the same Postgres, in turns of one run: CSV, Parquet and NDJSON
 * through the whole product with one worker (contract, quarantine, a checkpoint every 100,000 rows, events followed by a subscriber),
 * what is usually written by hand (csv-parse, Ajv, COPY), the price of encryption at rest, a resume at 99 %, and memory at several sizes. A turn begins when the
 * machine is at rest.
 *
 *   node bench/ingest.ts [--rows=3000000] [--rounds=3] [--more=300000,30000000] [--chart=bench/ingest.svg]
 */
import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs, promisify } from 'node:util';

import { sql } from '../src/db/sql.ts';
import { type Bar, barChart } from './bar-chart.ts';
import { cleanUp } from './child-process.ts';
import { cleanColumns, type IngestFiles, writeIngestFiles } from './ingest-data.ts';
import { type IngestResult, type IngestStack, pipelineName, startIngestStack } from './ingest-stack.ts';
import { cpuSecondsOfTree, cpuSecondsOfWaited, machineAtRest } from './process-cpu.ts';

const { values: options } = parseArgs({
  options: {
    rows: { type: 'string', default: '3000000' },
    rounds: { type: 'string', default: '3' },
    more: { type: 'string', default: '300000' },
    chart: { type: 'string' },
  },
});
const execute = promisify(execFile);

/** One mode in one round. */
interface Turn {
  rowsPerSecond: number;
  /** Of the loading alone, where a run also pins, counts and publishes. */
  loading?: number;
  postgresCpu: number;
  /** Of the worker with its child, or of the program that loads. */
  loaderCpu: number;
  ratio?: number;
  run?: IngestResult;
}
const turns = new Map<string, Turn[]>();

const home = await mkdtemp(path.join(tmpdir(), 'flux-bench-'));
await chmod(home, 0o711);
const running: { stack?: IngestStack | undefined } = {};
cleanUp(async () => {
  await running.stack?.stop();
  await rm(home, { recursive: true, force: true });
});
try {
  await main();
} finally {
  await running.stack?.stop();
  await rm(home, { recursive: true, force: true });
}

async function main(): Promise<void> {
  const sources = path.join(home, 'sources');
  await mkdir(sources);
  const rows = Number(options.rows);
  const files = [await writeIngestFiles(sources, rows)];
  for (const more of options.more.split(',').map(Number).filter(Boolean))
    files.push(await writeIngestFiles(sources, more, { onlyCsv: true }));
  const [main, ...others] = files as [IngestFiles, ...IngestFiles[]];
  const sizes: { rows: number; result: IngestResult }[] = [];
  for (const encryption of ['off', 'on'] as const) {
    const stack = (running.stack = await startIngestStack(
      { home, sources, files },
      { encryption, fresh: encryption === 'off' },
    ));
    for (let round = 0; round < Number(options.rounds); round += 1) await takeTurns(stack, main, encryption);
    if (encryption === 'off') {
      for (const { rows, csv } of others) sizes.push({ rows, result: await stack.run(pipelineName(csv)) });
      print(`resume at 99 %: ${await resume(stack, main.rows)}`);
    }
    await stack.stop();
    running.stack = undefined;
  }
  report(main, sizes);
  if (options.chart !== undefined) await writeFile(options.chart, chart());
  const bytes = (await stat(main.csv)).size;
  print(`${rows.toLocaleString('en-US')} rows, ${(bytes / 1e6).toFixed(0)} MB of CSV`);
}

/** A round: every mode once, `psql` first. With encryption only what it changes. */
async function takeTurns(current: IngestStack, files: IngestFiles, encryption: 'on' | 'off'): Promise<void> {
  const reference = await copyByPsql(current, files);
  const note = (mode: string, turn: Turn): void => {
    const ratio = turn.rowsPerSecond / reference.rowsPerSecond;
    turns.set(mode, [...(turns.get(mode) ?? []), { ...turn, ratio }]);
    process.stderr.write(`${mode}: ${Math.round(turn.rowsPerSecond).toLocaleString('en-US')}/s, ${ratio.toFixed(2)}\n`);
  };
  if (encryption === 'on') {
    note('CSV, encrypted at rest', await throughFlux(current, files.csv));
    return;
  }
  note('psql \\copy, clean and typed', reference);
  note('CSV', await throughFlux(current, files.csv));
  if (files.parquet !== null) note('Parquet', await throughFlux(current, files.parquet));
  if (files.ndjson !== null) note('NDJSON', await throughFlux(current, files.ndjson));
  note('csv-parse + Ajv + COPY', await byHand(current, files));
}

async function throughFlux(current: IngestStack, file: string): Promise<Turn> {
  const run = await current.run(pipelineName(file));
  if (!run.sound) process.exitCode = 1;
  const { read, seconds, loading, postgresCpu, workerCpu } = run;
  return { rowsPerSecond: read / seconds, loading: read / loading, postgresCpu, loaderCpu: workerCpu, run };
}

async function copyByPsql(current: IngestStack, { clean, cleanRows }: IngestFiles): Promise<Turn> {
  const { admin, adminUrl } = current;
  await execute('psql', [
    adminUrl,
    '-qc',
    `drop table if exists bench_clean; create table bench_clean (${cleanColumns})`,
  ]);
  await admin.query(sql`checkpoint`);
  await machineAtRest();
  const turn = await timed(current, cleanRows, 'psql', [
    adminUrl,
    '-qc',
    `\\copy bench_clean from '${clean ?? ''}' csv`,
  ]);
  const { rows } = await admin.query<{ count: bigint }>(sql`select count(*) as count from bench_clean`);
  if (Number(rows[0]?.count) !== cleanRows) throw new Error(`psql loaded ${String(rows[0]?.count)} rows`);
  return turn;
}

async function byHand(current: IngestStack, { csv, rows, cleanRows }: IngestFiles): Promise<Turn> {
  const { admin, adminUrl } = current;
  const tables = `drop table if exists bench_hand, bench_hand_refused; create table bench_hand (${cleanColumns});
    create table bench_hand_refused (record bigint, raw text, reasons text)`;
  await execute('psql', [adminUrl, '-qc', tables]);
  await admin.query(sql`checkpoint`);
  await machineAtRest();
  const program = path.join(import.meta.dirname, 'csv-parse-ajv.ts');
  const turn = await timed(current, rows, process.execPath, [program, adminUrl, csv, 'bench_hand']);
  const { good } = JSON.parse(turn.output) as { good: number };
  if (good !== cleanRows)
    throw new Error(`csv-parse and Ajv found ${String(good)} good rows, expected ${String(cleanRows)}`);
  return turn;
}

async function timed(
  { postmaster }: IngestStack,
  rows: number,
  program: string,
  args: readonly string[],
): Promise<Turn & { output: string }> {
  const before = [cpuSecondsOfTree(postmaster), cpuSecondsOfWaited()] as const;
  const begun = performance.now();
  const { stdout } = await execute(program, args);
  const seconds = (performance.now() - begun) / 1000;
  return {
    rowsPerSecond: rows / seconds,
    postgresCpu: cpuSecondsOfTree(postmaster) - before[0],
    loaderCpu: cpuSecondsOfWaited() - before[1],
    output: stdout,
  };
}

/** SIGKILL when 99 of 100 batches have committed. @returns from the claim that takes over to the first batch's commit */
async function resume(current: IngestStack, rows: number): Promise<string> {
  let killed = false;
  let batches = 0;
  const { runId, sound } = await current.run('resumed', ({ name }) => {
    if (name === 'BatchCommitted') batches += 1;
    if (batches < 99 || killed) return;
    killed = true;
    process.kill(current.workerPid() ?? 0, 'SIGKILL');
  });
  const { rows: found } = await current.admin.query<{ ms: number | null; first: string }>(sql`
    select extract(epoch from min(batch.at) - max(taken.at))::float8 * 1000 as ms, min((batch.data ->> 'firstRecord')::bigint)::text as first
    from flux.run_events taken
    join flux.run_events batch
      on batch.run_id = taken.run_id
      and batch.name = 'BatchCommitted'
      and batch.partition_no = taken.partition_no
      and batch.seq > taken.seq
    where taken.run_id = ${runId}
      and taken.name = 'PartitionTakenOver'
  `);
  const { ms = null, first = '' } = found[0] ?? {};
  if (ms === null) return 'the run was over before its worker could be killed; take more --rows';
  return `${ms.toFixed(0)} ms from the claim to the commit of the first batch, at record ${first} of ${String(rows)}${sound ? '' : ', NOT SOUND'}`;
}

function report(main: IngestFiles, sizes: readonly { rows: number; result: IngestResult }[]): void {
  const million = main.rows / 1e6;
  const count = (value: number): string => Math.round(value).toLocaleString('en-US');
  print('| mode | rows/s | to psql | rows/s while loading | CPU s per million rows: loader | Postgres |');
  print('|---|---|---|---|---|---|');
  for (const [mode, taken] of turns) {
    const of = (value: (turn: Turn) => number): number => median(taken.map(value));
    const ratios = taken.map(({ ratio = NaN }) => ratio.toFixed(2)).join(', ');
    const loading = of(({ loading = NaN }) => loading);
    print(
      `| ${mode} | ${count(of((turn) => turn.rowsPerSecond))} | ${of(({ ratio = NaN }) => ratio).toFixed(2)} (${ratios}) | ` +
        `${Number.isNaN(loading) ? '' : count(loading)} | ${(of((turn) => turn.loaderCpu) / million).toFixed(2)} | ${(of((turn) => turn.postgresCpu) / million).toFixed(2)} |`,
    );
  }
  const byHand = turns.get('csv-parse + Ajv + COPY') ?? [];
  const times = (turns.get('CSV') ?? []).map((turn, at) => turn.rowsPerSecond / (byHand[at]?.rowsPerSecond ?? NaN));
  print(`CSV to csv-parse + Ajv + COPY: ${median(times).toFixed(1)} times`);
  print(
    '| CSV rows | worker and child, resident MiB | shared pages once | at a quarter, half, three quarters, the end |',
  );
  print('|---|---|---|---|');
  const runs = (turns.get('CSV') ?? []).flatMap(({ run }) => run ?? []);
  for (const { rows, result } of [...sizes, ...runs.map((result) => ({ rows: main.rows, result }))]) {
    const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);
    print(
      `| ${count(rows)} | ${mib(result.resident)} | ${mib(result.proportional)} | ${result.quarters.map(mib).join(' ')} |`,
    );
  }
}

function chart(): string {
  const bars = [...turns].map(([mode, taken]): Bar => {
    const value = median(taken.map(({ rowsPerSecond }) => rowsPerSecond));
    const ratio = median(taken.map((turn) => turn.ratio ?? NaN));
    const label = `${Math.round(value).toLocaleString('en-US')} (${ratio.toFixed(2)})`;
    return { name: mode, value, label, reference: mode.startsWith('psql') };
  });
  return barChart('Rows/s by mode, one worker (ratio to psql \\copy of its round)', bars);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const [low = NaN, high = NaN] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return (low + high) / 2;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
