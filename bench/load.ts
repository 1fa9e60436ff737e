/**
 * A hundred users of ten agencies at work, each with a run under way that they watch: `node bench/load.ts [--minutes=10] [--workers=N]
 * [--plots=FOLDER]`. Every answer is looked through for what is another agency's and every subscription for gaps and repeats, as in
 * test/e2e/load.test.ts; besides it says how long requests and events took, and draws them over time.
 */
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { migrate } from '../src/db/migrate.ts';
import { startEmbedded } from '../src/embedded-postgres/start-embedded.ts';
import { openInstallation } from '../test/support/load/installation.ts';
import { type Load, registerLoad, startLoad } from '../test/support/load/load.ts';
import { summarize } from './latency.ts';
import { lineChart } from './line-chart.ts';
import { benchContextKey } from './scratch-database.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    workers: { type: 'string', default: '2' },
    plots: { type: 'string' },
  },
});
const minutes = Number(values.minutes);
const agencies = Array.from({ length: 10 }, (_, i) => `load-${String(i).padStart(2, '0')}-agency`);
const options = { agencies, usersPerAgency: 10, records: 2_000, batchRecords: 100, thinkMs: 1_000, cancelEvery: 5 };
const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };

const folder = await mkdtemp(path.join(tmpdir(), 'flux-load-'));
// Started by root, the server works as another OS user, which must be able to pass.
await chmod(folder, 0o711);
const postgres = await startEmbedded({
  home: path.join(folder, 'database'),
  logger: silent,
  settings: { max_connections: '200' },
});
await migrate(postgres.adminUrl, { contextKey: benchContextKey });
const installation = await openInstallation({
  folder,
  adminUrl: postgres.adminUrl,
  contextKey: benchContextKey,
  dataKey: Buffer.alloc(32, 9),
  agencies,
  records: options.records,
});
try {
  for (const it of ['sealer', 'serve'] as const) await installation.start(it);
  for (let i = 0; i < Number(values.workers); i += 1) await installation.start('worker');
  await registerLoad(installation, options);
  const startedAt = Date.now();
  const load = startLoad(installation, options);
  await new Promise((resolve) => setTimeout(resolve, minutes * 60_000));
  await load.finish();
  report(load, (Date.now() - startedAt) / 1_000);
  if (values.plots !== undefined) await plot(load, startedAt, values.plots);
  if (faultsOf(load).length > 0) process.exitCode = 1;
} finally {
  await installation.close();
  await postgres.stop();
  await rm(folder, { recursive: true, force: true });
}

function faultsOf({ ledger, isolation, events }: Load): readonly string[] {
  return [...ledger.failures, ...ledger.mistakes, ...isolation.breaches, ...events.faults];
}

function report(load: Load, seconds: number): void {
  const { ledger, isolation, events, answered, refused } = load;
  const runs = [...ledger.runs.values()];
  const ms = ({ p50, p99, max }: ReturnType<typeof summarize>): string =>
    [p50, p99, max].map((value) => value.toFixed(0)).join(' / ');
  const of = (name: RegExp): string => ms(summarize(answered.filter((it) => name.test(it.name)).map((it) => it.ms)));
  const row = (what: string, value: string | number): void => console.log(`| ${what} | ${String(value)} |`);
  row('seconds, the last runs included', seconds.toFixed(0));
  row(
    'runs, of these completed',
    `${String(runs.length)}, ${String(runs.filter((it) => it.status === 'COMPLETED').length)}`,
  );
  row('requests, a second', `${String(answered.length)}, ${(answered.length / seconds).toFixed(1)}`);
  row('queries: p50 / p99 / max ms', of(/^(?!StartRun|CancelRun|ResumeRun)/));
  row('mutations: p50 / p99 / max ms', of(/^(?:StartRun|CancelRun|ResumeRun)$/));
  row(
    'events, to their subscriber: p50 / p99 / max ms',
    `${String(events.events)}, ${ms(summarize(events.delays.map((it) => it.ms)))}`,
  );
  row('tries that were repeated', [...refused].map(([why, count]) => `${why}: ${String(count)}`).join(', ') || 'none');
  row('failures beyond that', ledger.failures.length);
  row('answers looked through, ids known', `${String(isolation.answers)}, ${String(isolation.ids)}`);
  row('questions about another agency’s run, all answered with nothing', ledger.probes);
  row('answers with another agency’s id or data', isolation.breaches.length);
  row('gaps, repeats, disorder of events', events.faults.length);
  row('other answers that were wrong', ledger.mistakes.length);
  for (const fault of faultsOf(load).slice(0, 20)) console.log(fault);
}

/** Percentiles of every five seconds. */
async function plot({ answered, events }: Load, startedAt: number, into: string): Promise<void> {
  const lines = (samples: readonly { at: number; ms: number }[]) => {
    const buckets = Map.groupBy(samples, ({ at }) => Math.floor((at - startedAt) / 5_000));
    const sorted = [...buckets].sort(([a], [b]) => a - b);
    return (['p50', 'p99'] as const).map((name) => ({
      name,
      points: sorted.map(([bucket, own]) => ({ x: bucket * 5, y: summarize(own.map(({ ms }) => ms))[name] })),
    }));
  };
  await mkdir(into, { recursive: true });
  const axes = { x: 'seconds since the start', y: 'ms' };
  const requests = lineChart({ title: 'Requests of 100 users', ...axes }, lines(answered));
  const delivery = lineChart(
    { title: 'Events, from their time stamp to their subscriber', ...axes },
    lines(events.delays),
  );
  await writeFile(path.join(into, 'load-requests.svg'), requests);
  await writeFile(path.join(into, 'load-events.svg'), delivery);
}
