import { hostname } from 'node:os';

import { randomUuid } from '../crypto/random.ts';
import { type HintWay, notifyAllThrough, oneByOne } from '../db/notify.ts';
import { createPool } from '../db/pool.ts';
import { type Claim, claimPartition, quantumDefault } from '../db/queue.ts';
import type { EtlEngine } from '../etl/engine-types.ts';
import { createAnnouncer } from '../events/announce.ts';
import type { KeyRing } from '../keys/key-ring.ts';
import { startBell } from '../queue/bell.ts';
import { metrics, watchPool } from '../telemetry/metrics.ts';
import { executePartition } from './execute-partition.ts';
import { forceCancels } from './force-cancels.ts';
import { startPresence } from './presence.ts';
import { startScheduler } from './scheduler.ts';
import { keepSession } from './sessions.ts';
import { endLateHolders, startWatch, type Watch } from './watch.ts';
import { within } from './within.ts';
import type { Log, WorkerConfig, WorkerDeps, WorkerTimes } from './work.ts';

export type { Log, WorkerConfig, WorkerTimes } from './work.ts';

/**
 * A process's worker. It is looking for work, working one partition, or stopping:
 *
 *   looking  -> working   a claim succeeded
 *   working  -> looking   the partition completed, was given back, failed its run, or was abandoned
 *   any      -> stopping  stop(): no more claims; the batch in hand commits if it is ready in time, its partition is given back
 */
export interface Worker {
  readonly id: string;
  /** Resolves when nothing runs any more, at the latest `graceMs` later: then the lease is left to run out. */
  stop(options: { graceMs: number }): Promise<void>;
}

/** A batch gets six of the ten seconds in which a worker has to be gone; to drop it and to give its partition back takes one or two. */
export const defaultTimes: WorkerTimes = {
  leaseMs: 5_000,
  heartbeatMs: 1_500,
  pollMs: 500,
  watchMs: 1_000,
  drainMs: 6_000,
};
const takingsMax = 5;
/** Runs come in bursts: for so long after one, the next finds its child started, at the price of that child's memory. */
const burstMs = 5 * 60_000;

export interface StartWorkerConfig extends Pick<WorkerConfig, 'databaseUrl' | 'contextKey' | 'workFolder'> {
  /** Names this worker in leases and events; made of host and process when absent. */
  id?: string;
  times?: Partial<WorkerTimes>;
  /** Batches after which a partition gives its turn up if others wait; 10 if absent. */
  quantumBatches?: number;
}

/** Starts looking for work. Resolves at once; a database that does not answer yet is waited for. */
export function startWorker(
  config: StartWorkerConfig,
  deps: { engine: EtlEngine; keys?: KeyRing; hints?: HintWay | undefined; log: Log; random?: () => number },
): Worker {
  const id = config.id ?? `${hostname()}-${String(process.pid)}-${randomUuid().slice(0, 4)}`;
  const onError = (err: unknown): void => deps.log.warn({ err }, 'a connection of the worker broke');
  // Claim, heartbeat, hint: a beat must never wait for another's connection.
  const pool = createPool({
    url: config.databaseUrl,
    max: 3,
    applicationName: `flux worker ${id}`,
    statementTimeoutMs: 4_000,
    pipeline: true, // prepared statements: a claim asks the same few things all day
    onError,
  });
  watchPool('worker', pool);
  const announcer = createAnnouncer(deps.hints ? oneByOne(deps.hints.send) : notifyAllThrough(pool), onError);
  const bell = startBell({ url: config.databaseUrl, onError, ...(deps.hints ? { open: deps.hints.open } : {}) });
  const draining = new AbortController();
  const session = keepSession();
  const working: WorkerDeps = {
    config: {
      ...config,
      id,
      times: { ...defaultTimes, ...config.times },
      takingsMax,
      quantumBatches: config.quantumBatches ?? quantumDefault,
    },
    engine: deps.engine,
    keys: deps.keys,
    log: deps.log,
    random: deps.random ?? Math.random,
    pool,
    announcer,
    session,
  };

  const presence = startPresence(pool, id, onError);
  const scheduler = startScheduler(working);
  const watch = startWatch(working);

  const done = (async () => {
    let workedAt = -Infinity;
    while (!draining.signal.aborted) {
      const claim = await look(working);
      if (claim) {
        await work({ ...working, watch }, claim, draining.signal);
        workedAt = performance.now();
        continue;
      }
      await session.end();
      if (performance.now() - workedAt < burstMs) deps.engine.expectWork?.();
      await bell.wait(working.config.times.pollMs, draining.signal);
    }
    await session.end();
  })();

  let stopped: Promise<void> | undefined;
  return {
    id,
    stop({ graceMs }) {
      stopped ??= (async () => {
        draining.abort();
        presence.draining();
        await within(graceMs, Promise.all([done, scheduler.stop(), watch.stop()]));
        await presence.stop();
        await Promise.all([announcer.stop(), bell.stop()]);
        await pool.end();
      })();
      return stopped;
    },
  };
}

/** Ends what was not acknowledged in time and what expired holders left open, then takes a partition. Null when there is none, or the database is away. */
async function look(deps: WorkerDeps): Promise<Claim | null> {
  const { pool, config, log } = deps;
  try {
    await forceCancels(deps);
    await endLateHolders(deps);
    return await claimPartition(pool, {
      id: config.id,
      leaseMs: config.times.leaseMs,
      quantum: config.quantumBatches,
    });
  } catch (err) {
    log.warn({ err }, 'no work can be claimed now');
    return null;
  }
}

async function work(deps: WorkerDeps & { watch: Watch }, claim: Claim, draining: AbortSignal): Promise<void> {
  if (claim.takenOver) metrics.leaseTakeovers.inc();
  deps.watch.begin();
  if (claim.kind !== 'PUBLISH') deps.engine.expectWork?.();
  await executePartition(deps, claim, draining);
  deps.watch.end();
}
