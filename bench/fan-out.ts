/**
 * Many who watch one run: time from commit to client, deliveries a second against a plain graphql-ws server, and what clients
 * that never read cost. `node bench/fan-out.ts`; two APIs, the subscribers and this writer are processes of their own beside Postgres.
 * The two servers take turns in short rounds, because other work comes and goes on a shared machine. See README.md.
 */
import { notifyAllThrough } from '../src/db/notify.ts';
import { createPool } from '../src/db/pool.ts';
import { createAnnouncer } from '../src/events/announce.ts';
import { cleanUp, startProcess } from './child-process.ts';
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

type Kind = 'flux' | 'plain';
const kinds: readonly Kind[] = ['flux', 'plain'];
const watchers = 200;
const rounds = 3;
const live = { events: 500, everyMs: 10, graceMs: 5_000 };
/** The plain server gets fewer events and as much time: its rate is what it delivered over how long that took. */
const burst = { flux: 4_000, plain: 400, withinMs: 15_000 };
const beside = { count: 100_000, size: 50, everyMs: 25, withinMs: 60_000 };

const database = await startScratchDatabase();
cleanUp(() => database.stop());
const worker = createPool({ url: database.workerUrl, max: 2, applicationName: 'flux bench hints' });
const announcer = createAnnouncer(notifyAllThrough(worker), console.error);
const tell = (runId: string): void => announcer.run(runId);
const clients = startProcess('subscribers.ts', []);
const ask = (order: Order): Promise<Answer> => clients.ask<Answer>(order);
const line = (...cells: string[]): void => console.log(`| ${cells.join(' | ')} |`);
const show = ({ p50, p99, max }: Latency): string => `${p50.toFixed(1)} / ${p99.toFixed(1)} / ${max.toFixed(1)} ms`;
const median = (of: number[]): number => of.sort((a, b) => a - b)[Math.floor(of.length / 2)] ?? NaN;

const servers = {
  flux: startProcess('api-process.ts', ['flux', database.apiUrl]),
  plain: startProcess('api-process.ts', ['plain', database.apiUrl]),
};
const urls = {
  flux: (await servers.flux.answer<{ url: string }>()).url,
  plain: (await servers.plain.answer<{ url: string }>()).url,
};

try {
  if (!process.argv.includes('--only-stalled')) await inTurns();
  servers.plain.process.disconnect();
  if (!process.argv.includes('--without-stalled')) await stalledClients();
} finally {
  clients.process.disconnect();
  servers.flux.process.disconnect();
  await announcer.stop();
  await worker.end();
  await database.stop();
}

async function inTurns(): Promise<void> {
  for (let round = 1; round <= rounds; round += 1) for (const kind of kinds) await liveRound(kind, round);
  const rates: Record<Kind, number[]> = { flux: [], plain: [] };
  for (let round = 1; round <= rounds; round += 1) {
    for (const kind of kinds) rates[kind].push(await burstRound(kind, round));
    line(
      `round ${String(round)}, flux / plain`,
      `${((rates.flux.at(-1) ?? 0) / (rates.plain.at(-1) ?? 1)).toFixed(1)} x`,
    );
  }
  line('flux / plain, median of the rounds', `${(median(rates.flux) / median(rates.plain)).toFixed(1)} x`);
}

async function liveRound(kind: Kind, round: number): Promise<void> {
  const runId = await database.newRun();
  await ask({ open: { url: urls[kind], runId, count: watchers, name: 'live', events: live.events } });
  const commits = await write(database, tell, { runId, count: live.events, size: 1, everyMs: live.everyMs });
  const { deliveries } = await ask({ until: { seq: live.events + 1, withinMs: live.graceMs } });
  const { latency } = await ask({ report: { commits } });
  const share = (deliveries / ((live.events + 1) * watchers)) * 100;
  const label = `${kind}, round ${String(round)}: 200 subscribers, 100 events/s, commit to client p50 / p99 / max`;
  line(label, latency ? `${show(latency)}, ${share.toFixed(0)} % delivered` : '');
  await ask({ close: true });
}

/** @returns deliveries a second */
async function burstRound(kind: Kind, round: number): Promise<number> {
  const runId = await database.newRun();
  const count = burst[kind];
  await ask({ open: { url: urls[kind], runId, count: watchers, name: 'burst', events: count } });
  const begun = now();
  await write(database, tell, { runId, count, size: 100, everyMs: 0 });
  const { at, deliveries } = await ask({ until: { seq: count + 1, withinMs: burst.withinMs } });
  await ask({ close: true });
  const rate = (deliveries - watchers) / ((at - begun) / 1_000);
  line(
    `${kind}, round ${String(round)}: 200 subscribers, events as fast as they are written, deliveries/s`,
    `${Math.round(rate).toLocaleString('en')} (${String(deliveries - watchers)} of ${String(count * watchers)})`,
  );
  return rate;
}

async function stalledClients(): Promise<void> {
  const url = urls.flux;
  const memory = async (): Promise<number> => (await servers.flux.ask<{ rss: number }>('memory')).rss / 1_048_576;
  const { count, withinMs } = beside;
  const measured: Latency[] = [];
  for (const stalled of [0, 1_000]) {
    const runId = await database.newRun();
    await ask({ open: { url, runId, count: 20, name: 'healthy', events: count } });
    if (stalled > 0) await ask({ open: { url, runId, count: stalled, name: 'stalled', stalled: true, events: count } });
    await pause(1_000);
    const before = await memory();
    const commits = await write(database, tell, { runId, ...beside });
    const { deliveries } = await ask({ until: { seq: count + 1, withinMs } });
    const after = await memory();
    const { latency, stillStalled } = await ask({ report: { commits: commits.filter((_, i) => i % 20 === 0) } });
    if (latency) measured.push(latency);
    line(
      `flux: 20 clients, 100,000 events at 2,000/s${stalled ? `, beside ${String(stalled)} that never read (${String(stillStalled)} still open)` : ''}, p50 / p99 / max`,
      `${latency ? show(latency) : ''}, ${((deliveries / ((count + 1) * 20)) * 100).toFixed(0)} % delivered`,
    );
    line(
      `its process, before and after`,
      `${before.toFixed(0)} -> ${after.toFixed(0)} MiB (${(after - before).toFixed(0)} more)`,
    );
    await ask({ close: true });
  }
  const [alone, crowded] = measured;
  if (alone && crowded) line('p99 beside stalled / alone', `${(crowded.p99 / alone.p99).toFixed(2)} x`);
}
