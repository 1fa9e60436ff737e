/**
 * Many who watch one run: time from commit to client, deliveries a second against a plain graphql-ws server, and what clients
 * that never read cost. `node bench/fan-out.ts`; API, subscribers and this writer are three processes beside Postgres. See README.md.
 */
import { type ChildProcess, fork } from 'node:child_process';
import path from 'node:path';

import { createPool } from '../src/db/pool.ts';
import { createAnnouncer } from '../src/events/announce.ts';
import type { Latency } from './latency.ts';
import { type ScratchDatabase, startScratchDatabase } from './scratch-database.ts';
import type { Order } from './subscribers.ts';

const now = (): number => performance.timeOrigin + performance.now();
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const event = (n: number) => ({
  name: 'BatchCommitted' as const,
  message: `Batch ${String(n)} of partition 3 is durable.`,
  data: { partition: 3, batch: n, recordsRead: n * 100_000, recordsWritten: n * 99_871, recordsRejected: 129 },
});

interface Answer {
  at: number;
  deliveries: number;
  stillStalled: number;
  latency?: Latency;
}

function child(file: string, args: readonly string[]) {
  const process = fork(path.join(import.meta.dirname, file), args, { execArgv: ['--expose-gc'] });
  const answer = <T>(): Promise<T> =>
    new Promise((resolve, reject) => {
      process.once('message', resolve as (message: unknown) => void);
      process.once('exit', (code) => reject(new Error(`${file} ended with ${String(code)}`)));
    });
  return { process, answer };
}

async function ask<T>(of: ReturnType<typeof child>, message: Order | string): Promise<T> {
  const answered = of.answer<T>();
  of.process.send(message);
  return answered;
}

/** Writes `count` events, `size` in a transaction, one transaction every `everyMs`. @returns when each was committed */
async function write(
  database: ScratchDatabase,
  tell: (runId: string) => void,
  work: { runId: string; count: number; size: number; everyMs: number },
): Promise<[seq: number, at: number][]> {
  const { runId, count, size, everyMs } = work;
  const commits: [number, number][] = [];
  const start = performance.now();
  for (let written = 0; written < count; written += size) {
    const due = start + (written / size) * everyMs - performance.now();
    if (due > 0) await pause(due);
    await database.append(
      runId,
      Array.from({ length: size }, (_, i) => event(written + i)),
    );
    const at = now();
    tell(runId);
    for (let i = 1; i <= size; i += 1) commits.push([1 + written + i, at]);
  }
  return commits;
}

const database = await startScratchDatabase();
const worker = createPool({ url: database.workerUrl, max: 2, applicationName: 'flux bench hints' });
const announcer = createAnnouncer(worker, console.error);
const tell = (runId: string): void => announcer.run(runId);
const clients = child('subscribers.ts', []);
const line = (label: string, value: string): void => console.log(`| ${label} | ${value} |`);
const show = ({ p50, p99, max }: Latency): string => `${p50.toFixed(1)} / ${p99.toFixed(1)} / ${max.toFixed(1)} ms`;
const rates: Record<string, number> = {};
const children: ChildProcess[] = [clients.process];
clients.process.setMaxListeners(0);

try {
  for (const kind of ['flux', 'plain'] as const) {
    const api = child('api-process.ts', [kind, database.apiUrl]);
    children.push(api.process);
    const { url } = await api.answer<{ url: string }>();

    const live = await database.newRun();
    await ask<Answer>(clients, { open: { url, runId: live, count: 200, name: 'live' } });
    await write(database, tell, { runId: live, count: 200, size: 1, everyMs: 10 });
    await ask<Answer>(clients, { until: 201 });
    // What cannot keep up falls behind without end: its time says how long it was watched.
    const seconds = kind === 'flux' ? 20 : 5;
    const more = await writeAfter(201, { runId: live, count: 100 * seconds, size: 1, everyMs: 10 });
    await ask<Answer>(clients, { until: 201 + 100 * seconds });
    const { latency } = await ask<Answer>(clients, { report: { commits: more } });
    if (latency) line(`${kind}: 200 subscribers, 100 events/s, commit to client p50 / p99 / max`, show(latency));
    await ask<Answer>(clients, { close: true });

    // The best round: the machine is shared.
    for (let round = 0; round < (kind === 'flux' ? 3 : 2); round += 1) {
      const burst = await database.newRun();
      await ask<Answer>(clients, { open: { url, runId: burst, count: 200, name: 'burst' } });
      const count = kind === 'flux' ? 4_000 : 1_000;
      const begun = now();
      await write(database, tell, { runId: burst, count, size: 100, everyMs: 0 });
      const { at } = await ask<Answer>(clients, { until: count + 1 });
      rates[kind] = Math.max(rates[kind] ?? 0, (count * 200) / ((at - begun) / 1_000));
      await ask<Answer>(clients, { close: true });
    }
    line(
      `${kind}: 200 subscribers, events as fast as they are written, deliveries/s`,
      Math.round(rates[kind] ?? 0).toLocaleString('en'),
    );
    if (kind === 'flux' && !process.argv.includes('--without-stalled')) await stalledClients(url, api);
    api.process.disconnect();
  }
  line('flux / plain', `${((rates['flux'] ?? 0) / (rates['plain'] ?? 1)).toFixed(1)} x`);
} finally {
  for (const one of children) if (one.connected) one.disconnect();
  await announcer.stop();
  await worker.end();
  await database.stop();
}

async function writeAfter(last: number, work: Parameters<typeof write>[2]): Promise<[number, number][]> {
  return (await write(database, tell, work)).map(([seq, at]) => [seq - 1 + last, at]);
}

async function stalledClients(url: string, api: ReturnType<typeof child>): Promise<void> {
  const memory = async (): Promise<number> => (await ask<{ rss: number }>(api, 'memory')).rss / 1_048_576;
  const work = { count: 100_000, size: 100, everyMs: 25 };
  const measured: Latency[] = [];
  for (const stalled of [0, 1_000]) {
    const runId = await database.newRun();
    await ask<Answer>(clients, { open: { url, runId, count: 20, name: 'healthy' } });
    if (stalled > 0)
      await ask<Answer>(clients, { open: { url, runId, count: stalled, name: 'stalled', stalled: true } });
    await pause(1_000);
    const before = await memory();
    const commits = await write(database, tell, { runId, ...work });
    await ask<Answer>(clients, { until: work.count + 1 });
    const after = await memory();
    const { latency, stillStalled } = await ask<Answer>(clients, {
      report: { commits: commits.filter((_, i) => i % 20 === 0) },
    });
    if (latency) measured.push(latency);
    line(
      `flux: 20 clients, 100,000 events at 4,000/s${stalled ? `, beside ${String(stalled)} that never read (${String(stillStalled)} still open)` : ''}, p50 / p99 / max`,
      latency ? show(latency) : '',
    );
    line(
      `its process, before and after`,
      `${before.toFixed(0)} -> ${after.toFixed(0)} MiB (${(after - before).toFixed(0)} more)`,
    );
    await ask<Answer>(clients, { close: true });
  }
  const [alone, beside] = measured;
  if (alone && beside) line('p99 beside stalled / alone', `${(beside.p99 / alone.p99).toFixed(2)} x`);
}
