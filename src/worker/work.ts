import type { Definitions } from '../checkpoint/body.ts';
import type { Connection, Pool } from '../db/pool.ts';
import type { Claim } from '../db/queue.ts';
import type { Run } from '../db/runs.ts';
import type { EtlEngine, PipelineDefinition } from '../etl/engine-types.ts';
import type { Announcer } from '../events/announce.ts';
import type { KeyRing } from '../keys/key-ring.ts';
import type { LeaseTimes } from '../queue/lease.ts';
import type { KeptSession } from './sessions.ts';

/** Where a worker writes what it has to say; pino fits. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface WorkerTimes extends LeaseTimes {
  /** How often a worker without work looks for some, when no hint wakes it. */
  pollMs: number;
  /** How often a worker at work looks for partitions that others have abandoned. */
  watchMs: number;
  /** How long a batch that is being made may take to be done when the worker is told to stop; then it is dropped. */
  drainMs: number;
}

export interface WorkerConfig {
  /** The URL of flux_worker's login; the agencies' logins are at the same place. */
  databaseUrl: string;
  /** FLUX_CONTEXT_KEY, from which the logins' passwords follow. */
  contextKey: Buffer;
  /** Where partitions keep their files while they are worked. */
  workFolder: string;
  id: string;
  times: WorkerTimes;
  /** Takings without one committed batch after which a partition is poison. */
  takingsMax: number;
  /** Batches after which a partition gives its turn up if others wait. */
  quantumBatches: number;
}

/** What the steps of every partition need. */
export interface WorkerDeps {
  config: WorkerConfig;
  engine: EtlEngine;
  /** The agencies' data keys, read as each agency's login; absent where nothing is sealed (tests). */
  keys?: KeyRing | undefined;
  /** As flux_worker: claims, heartbeats and hints. */
  pool: Pool;
  announcer: Announcer;
  /** The last agency's session, for the next partition of the same; absent where each gets its own (tests). */
  session?: KeptSession | undefined;
  /** Whether a partition that somebody abandoned waits; absent where nobody looks (tests). */
  watch?: { readonly takeoverWaits: boolean } | undefined;
  log: Log;
  /** 0 up to, not including, 1. */
  random: () => number;
}

/** A partition that we hold: the agency's own session, and how it is told to end. */
export interface Held {
  claim: Claim;
  /** Logged in as the agency; the only connection through which the partition writes. */
  holder: Connection;
  /** Aborts when the lease is lost. */
  lost: AbortSignal;
}

/** A held partition with all that its steps need to know. */
export interface Work extends Held {
  deps: WorkerDeps;
  run: Run;
  definition: PipelineDefinition;
  definitions: Definitions;
  /** The contract's document; null when the pipeline names none. */
  contract: Readonly<Record<string, unknown>> | boolean | null;
  /** The agency's lake. */
  lake: string;
  /** A folder of this taking's own. */
  folder: string;
  /** Aborts when the run was asked to stop, or a worker that is to stop has no time left: the batch in hand is dropped. */
  draining: AbortSignal;
  /** Aborts when the worker is to stop in good order: the batch in hand still commits. */
  closing: AbortSignal;
  turn: Turn;
}

/** What a taking has used of the queue, and whose it is. */
export interface Turn {
  /** Batches committed. */
  batches: number;
  /** Those that the agency was charged with: the first by the claim. */
  charged: number;
  /** The trace of the request that asked for the run; null until the run is read, and where none is known. */
  traceId: string | null;
}

/** How a partition's taking ended. */
export type Outcome = 'completed' | 'released' | 'yielded' | 'retried' | 'failed' | 'cancelled' | 'abandoned';
