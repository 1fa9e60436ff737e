import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterEach } from 'vitest';

import { notifyAllThrough } from '../../src/db/notify.ts';
import type { Claim } from '../../src/db/queue.ts';
import { claimPartition } from '../../src/db/queue.ts';
import { newRunIds, queueRuns } from '../../src/db/runs.ts';
import { sql } from '../../src/db/sql.ts';
import { inTenant } from '../../src/db/transaction.ts';
import type { EtlEngine } from '../../src/etl/engine-types.ts';
import { createAnnouncer } from '../../src/events/announce.ts';
import { executePartition } from '../../src/worker/execute-partition.ts';
import { keepSession } from '../../src/worker/sessions.ts';
import type { KeyRing } from '../../src/keys/key-ring.ts';
import { startWorker, type StartWorkerConfig, type Worker } from '../../src/worker/worker.ts';
import type { Outcome, WorkerDeps, WorkerTimes } from '../../src/worker/work.ts';
import type { TestDatabase } from './database.ts';

/** A lease is long: a test that is not about its end must not lose it because the machine stood still for a moment. */
const times: WorkerTimes = { leaseMs: 60_000, heartbeatMs: 300, pollMs: 50, watchMs: 50, drainMs: 1_000 };

export interface LogLine {
  level: string;
  fields: Record<string, unknown>;
  message: string;
}

export interface PipelineOptions {
  agency: string;
  name?: string;
  mode?: 'append' | 'replace' | 'merge';
  key?: string[];
  dataset?: string;
  /** The source's path. */
  path?: string;
  contract?: { onViolation?: 'quarantine' | 'fail'; maxRejectedRatio?: number; maxRejectedCount?: number };
}

/** Queues runs and works them, in this process, with an engine that the test gives. */
export interface WorkerBench {
  /** Registers a pipeline with its connection and contract. */
  addPipeline(options: PipelineOptions): Promise<string>;
  /** Queues a run, as the API does. @returns its id */
  queueRun(agency: string, pipeline: string, more?: { traceId?: string; source?: string }): Promise<string>;
  deps(
    engine: EtlEngine,
    more?: { times?: Partial<WorkerTimes>; id?: string; quantumBatches?: number; keys?: KeyRing },
  ): Promise<WorkerDeps>;
  claim(worker?: string, leaseMs?: number): Promise<Claim>;
  /** Claims and works partitions until there are none left that could be taken now. @returns the outcomes, in order */
  drain(deps: WorkerDeps): Promise<Outcome[]>;
  start(engine: EtlEngine, more?: Partial<StartWorkerConfig>): Promise<Worker>;
  readonly log: LogLine[];
}

export function useWorkerBench(database: TestDatabase): WorkerBench {
  const cleanups: (() => Promise<unknown>)[] = [];
  const log: LogLine[] = [];
  const level = (name: string) => (fields: object, message: string) =>
    log.push({ level: name, fields: { ...fields }, message });
  const logger = { debug: level('debug'), info: level('info'), warn: level('warn'), error: level('error') };

  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
    log.length = 0;
  });
  const folder = async (): Promise<string> => {
    const made = await mkdtemp(path.join(tmpdir(), 'flux worker '));
    cleanups.push(() => rm(made, { recursive: true, force: true }));
    return made;
  };

  const bench: WorkerBench = {
    log,
    async addPipeline({
      agency,
      name = 'numbers',
      mode = 'append',
      key,
      dataset = 'numbers',
      contract = {},
      path: file = 'list',
    }) {
      const definition = {
        name,
        source: { connection: 'lists', path: file, format: { type: 'csv' } },
        contract: { name: 'numbers', version: 1, ...contract },
        destination: { type: 'postgres', dataset, mode, ...(key ? { key } : {}) },
      };
      await inTenant(database.apiPool(), database.tenant(agency), async (tx) => {
        await tx.query(sql`
          insert into flux.connections (agency_id, name, kind, config, created_by)
          values (${agency}, 'lists', 'file', '{"roots": ["."]}', 'test')
          on conflict do nothing
        `);
        await tx.query(sql`
          insert into flux.contracts (agency_id, name, version, document, sha256, created_by)
          values (${agency}, 'numbers', 1, '{"type":"object"}', ${Buffer.alloc(32)}, 'test')
          on conflict do nothing
        `);
        await tx.query(sql`
          insert into flux.pipelines (agency_id, name, version, title, content_type, use_case, classification, contract_name,
            contract_version, connection_name, definition, sha256, created_by)
          values (${agency}, ${name}, 1, 'Numbers', 'text', 'research', 0, 'numbers', 1, 'lists', ${JSON.stringify(definition)},
            ${Buffer.alloc(32)}, 'test')
        `);
      });
      return name;
    },
    queueRun(agency, pipeline, { traceId, source } = {}) {
      return inTenant(database.apiPool(), database.tenant(agency), async (tx) => {
        const [id = ''] = await newRunIds(tx, 1);
        const run = {
          id,
          pipelineName: pipeline,
          pipelineVersion: 1,
          stage: 'FULL',
          contentType: 'text',
          useCase: 'research',
          classification: 0,
          requestedBy: 'someone@example.gov',
          reason: null,
          payload: source === undefined ? {} : { source },
          traceId: traceId ?? null,
          event: { name: 'RunQueued', message: 'Queued.' },
        } as const;
        await queueRuns(tx, [run]);
        return id;
      });
    },
    async deps(engine, more = {}) {
      const announcer = createAnnouncer(notifyAllThrough(database.workerPool()), (err) => logger.warn({ err }, 'hint'));
      const session = keepSession();
      cleanups.push(
        () => announcer.stop(),
        () => session.end(),
      );
      return {
        config: {
          databaseUrl: database.workerUrl,
          contextKey: database.contextKey,
          workFolder: await folder(),
          id: more.id ?? 'bench',
          times: { ...times, ...more.times },
          takingsMax: 5,
          quantumBatches: more.quantumBatches ?? 10,
        },
        engine,
        keys: more.keys,
        pool: database.workerPool(),
        announcer,
        session,
        log: logger,
        random: () => 0,
      };
    },
    async claim(worker = 'bench', leaseMs = times.leaseMs) {
      const claim = await claimPartition(database.workerPool(), { id: worker, leaseMs });
      if (!claim) throw new Error('expected a partition to claim, found none');
      return claim;
    },
    async drain(deps) {
      const outcomes: Outcome[] = [];
      for (;;) {
        const claim = await claimPartition(deps.pool, { id: deps.config.id, leaseMs: deps.config.times.leaseMs });
        if (!claim) return outcomes;
        outcomes.push(await executePartition(deps, claim, new AbortController().signal));
      }
    },
    async start(engine, more = {}) {
      const worker = startWorker(
        {
          databaseUrl: database.workerUrl,
          contextKey: database.contextKey,
          workFolder: await folder(),
          times,
          ...more,
        },
        { engine, log: logger },
      );
      cleanups.push(() => worker.stop({ graceMs: 5_000 }));
      return worker;
    },
  };
  return bench;
}
