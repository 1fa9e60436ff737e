/**
 * A hundred runs of ten agencies at once, each followed by a subscriber: how long an event takes from its commit's time stamp to
 * the subscriber. `node bench/hundred-runs.ts [--workers=N]`. Everything is on this machine, so one clock says both times.
 */
import { parseArgs } from 'node:util';

import { sql } from '../src/db/sql.ts';
import { follow } from '../src/events/follow.ts';
import { startHints } from '../src/events/listen.ts';
import { openArena } from '../test/chaos/arena.ts';
import { createHerd } from '../test/chaos/herd.ts';
import { audit } from '../test/chaos/invariants.ts';
import { summarize } from './latency.ts';

const { values } = parseArgs({ options: { workers: { type: 'string', default: '2' } } });
const quiet = { info: () => undefined, warn: () => undefined };
const arena = await openArena(10, {});
const herd = createHerd(arena);
const hints = startHints({ url: arena.apiUrl, logger: quiet });
const stop = new AbortController();
try {
  const delays: number[] = [];
  const startedAt = performance.now();
  const runs = await Promise.all(
    Array.from({ length: 100 }, async (_, i) => {
      const agency = arena.agencies[i % 10] as string;
      return { agency, runId: await arena.queueRun(agency, { count: 48, partitions: 2, batchMs: 20 }) };
    }),
  );
  const followed = runs.map(async ({ agency, runId }) => {
    const request = { sealed: () => arena.sealed(agency), runId, afterSeq: 1n, signal: stop.signal };
    for await (const item of follow({ pool: arena.api, hints, logger: quiet }, request)) {
      if ('kind' in item) return;
      delays.push(Math.max(0, Date.now() - item.at.getTime()));
    }
  });
  await hints.listening();
  for (let i = 0; i < Number(values.workers); i += 1) await herd.start();
  await Promise.all(followed);
  const seconds = (performance.now() - startedAt) / 1_000;
  const { count, p50, p99, max } = summarize(delays);
  const [done] = await arena.ask<{ completed: number }>(
    sql`select count(*)::int as completed from flux.runs where status = 'COMPLETED'`,
  );
  const broken = [...(await audit(arena.admin)).keys()];
  console.log(`| runs completed, of 10 agencies | ${String(done?.completed)} in ${seconds.toFixed(1)} s |`);
  console.log(`| events delivered | ${String(count)} |`);
  console.log(`| from commit to subscriber: p50 / p99 / max ms | ${String(p50)} / ${String(p99)} / ${String(max)} |`);
  console.log(`| invariants that do not hold | ${broken.join(', ') || 'none'} |`);
} finally {
  stop.abort();
  await hints.stop();
  await herd.endAll();
  await arena.close();
}
