import { createRandom, type Random } from '../simulation/random.ts';
import { sql } from '../../src/db/sql.ts';
import { resumeRun } from '../../src/domain/resume-run.ts';
import { type Arena, openArena, patiently } from './arena.ts';
import { createHerd, type Herd } from './herd.ts';
import { audit } from './invariants.ts';
import type { ListSource } from './list-source.ts';
import { createSubscribers, type Subscribers } from './subscribers.ts';

/** A series of faults over one arena, audited after each scenario. */
export interface Campaign {
  readonly arena: Arena;
  readonly herd: Herd;
  readonly random: Random;
  readonly subscribers: Subscribers;
  /** Faults so far, by name. */
  readonly faults: Map<string, number>;
  fault(name: string): void;
  /** Queues runs of the agencies in turn, each with a subscriber. */
  queue(count: number, list?: Partial<ListSource>): Promise<{ agency: string; runId: string }[]>;
  watch(agency: string, runId: string): void;
  /** Starts workers until there are so many, and ends what is too much: a scenario's own must get the work that it waits for. */
  keepWorkers(count: number): Promise<void>;
  /**
   * With the faults stopped: waits until every run is over, as an operator resumes what may be resumed, and asks every
   * invariant.
   *
   * @returns what does not hold, in words
   */
  settle(): Promise<string[]>;
  close(): Promise<void>;
}

/** What an operator may answer with a resume: the fault ended the attempt, and it has passed. */
const resumable = ['POISON_PARTITION', 'UNAVAILABLE', 'SOURCE_UNAVAILABLE'];
const settleMs = 120_000;

export async function openCampaign(seed: number, settings: Record<string, string>): Promise<Campaign> {
  const arena = await openArena(4, settings);
  const herd = createHerd(arena);
  const random = createRandom(seed);
  const subscribers = createSubscribers(arena, random.next);
  const faults = new Map<string, number>();
  const agencyOf = new Map<string, string>();
  let next = 0;

  const campaign: Campaign = {
    arena,
    herd,
    random,
    subscribers,
    faults,
    fault: (name) => void faults.set(name, (faults.get(name) ?? 0) + 1),
    watch(agency, runId) {
      agencyOf.set(runId, agency);
      subscribers.follow(agency, runId);
    },
    async queue(count, list) {
      const queued: { agency: string; runId: string }[] = [];
      for (let i = 0; i < count; i += 1) {
        const agency = arena.agencies[next++ % arena.agencies.length] as string;
        const runId = await arena.queueRun(agency, list);
        campaign.watch(agency, runId);
        queued.push({ agency, runId });
      }
      return queued;
    },
    async keepWorkers(count) {
      await Promise.all(
        herd
          .members()
          .slice(count)
          .map((worker) => worker.kill('SIGKILL')),
      );
      for (let i = herd.members().length; i < count; i += 1) await herd.start();
    },
    async settle() {
      const until = performance.now() + settleMs;
      while (performance.now() < until) {
        if (herd.members().length < 2) await campaign.keepWorkers(2);
        const open = await arena.ask<{ runId: string; status: string; code: string | null }>(sql`
          select run_id as "runId", status, failure_code as code from flux.runs
          where status not in ('COMPLETED', 'CANCELLED') and not (status = 'FAILED' and failure_code <> all (${resumable}::text[]))
        `);
        if (open.length === 0) break;
        for (const { runId, status } of open) if (status === 'FAILED') await resume(runId);
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      await subscribers.settle();
      const broken = await patiently(() => arena.admin.withConnection((connection) => audit(connection)));
      const failed = await arena.ask<{ runId: string; code: string; message: string }>(sql`
        select run_id as "runId", failure_code as code, failure_message as message from flux.runs where status = 'FAILED'
      `);
      const unexpected = failed.map(({ runId, code, message }) => `run ${runId} failed with ${code}: ${message}`);
      const violations = [...broken].flatMap(([name, rows]) =>
        rows.slice(0, 5).map(({ run, detail }) => `${name} run ${run}: ${detail} (${String(rows.length)} in all)`),
      );
      return [...unexpected, ...violations];
    },
    async close() {
      await subscribers.stop();
      await herd.endAll();
      await arena.close();
    },
  };
  return campaign;

  async function resume(runId: string): Promise<void> {
    const agency = agencyOf.get(runId) as string;
    campaign.fault('(resumed by the operator)');
    const asked = { runId, reason: 'the fault has passed', idempotencyKey: null };
    await patiently(() => resumeRun({ pool: arena.api, logger: quiet }, arena.caller(agency), asked), 10_000).catch(
      () => undefined,
    );
  }
}

const quiet = { info: () => undefined, warn: () => undefined };
