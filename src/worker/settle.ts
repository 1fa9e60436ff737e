import { appendAudit } from '../audit/append.ts';
import { randomUuid } from '../crypto/random.ts';
import {
  cancelOtherPartitions,
  finishPartition,
  lockPartitions,
  readTakings,
  returnPartition,
} from '../db/partitions.ts';
import { findRun } from '../db/runs.ts';
import { FluxError, isFluxError } from '../errors.ts';
import { appendEvents } from '../events/append.ts';
import { backoff } from '../queue/backoff.ts';
import { countFailure, metrics } from '../telemetry/metrics.ts';
import { auditTaking } from './audit-taking.ts';
import { decideEnding, type Ending } from './decide-ending.ts';
import { fenced, requireHeld } from './fenced.ts';
import { stopBeside } from './stop-beside.ts';
import type { Held, Outcome, WorkerDeps } from './work.ts';

/**
 * Settles a partition that did not complete: gives it back, gives it back for later, or fails the run. In a session of its
 * own, because the one that worked may be broken.
 */
export async function settle(deps: WorkerDeps, held: Held, ending: Ending): Promise<Outcome> {
  try {
    return await settleEnding(deps, held, ending);
  } catch (cause) {
    // The run does not go on: somebody cancelled or failed it between our transactions.
    if (isFluxError(cause, 'INVALID_TRANSITION')) return stopBeside(deps, held);
    throw cause;
  }
}

async function settleEnding(deps: WorkerDeps, held: Held, ending: Ending): Promise<Outcome> {
  if (ending.kind === 'failed') countFailure(ending.error);
  const takings = await readTakings(held.holder, held.claim);
  const decision = decideEnding(ending, { takings, takingsMax: deps.config.takingsMax });
  switch (decision.act) {
    case 'release':
      return release(deps, held);
    case 'yield':
      return yieldTurn(deps, held);
    case 'stopBeside':
      return stopBeside(deps, held);
    case 'retry':
      return retry(deps, held, decision.error, takings);
    case 'poison':
      return fail(deps, held, poisoned(deps, held, decision.error));
    case 'fail':
      return fail(deps, held, decision.error);
  }
}

function poisoned({ config }: WorkerDeps, { claim }: Held, error: FluxError): FluxError {
  return new FluxError(
    'POISON_PARTITION',
    `Partition ${String(claim.partitionNo)} failed ${String(config.takingsMax)} times without one committed batch, the last time with ` +
      `${error.code}: ${error.message}`,
    { cause: error },
  );
}

async function release(deps: WorkerDeps, held: Held): Promise<Outcome> {
  const { claim } = held;
  await fenced(held, async (tx) => {
    requireHeld(claim, await returnPartition(tx, claim, { delayMs: 0, uncount: true }));
    const traceId = (await findRun(tx, claim.runId))?.traceId ?? null;
    await auditTaking(tx, deps, claim, { action: 'partition.return', traceId, after: { why: 'DRAINED' } });
    await appendEvents(tx, claim, [
      {
        name: 'PartitionRetried',
        message: `Partition ${String(claim.partitionNo)} is free for another worker: its own is stopping.`,
        partitionNo: claim.partitionNo,
        data: { partition: claim.partitionNo, epoch: claim.epoch, reason: 'DRAINED', delayMs: 0 },
      },
    ]);
  });
  deps.announcer.run(claim.runId);
  deps.announcer.work();
  return 'released';
}

/** The queue decides anew. No attempt is counted and nothing has failed. */
async function yieldTurn(deps: WorkerDeps, held: Held): Promise<Outcome> {
  const { claim } = held;
  await fenced(held, async (tx) => {
    requireHeld(claim, await returnPartition(tx, claim, { delayMs: 0, uncount: true }));
    await appendEvents(tx, claim, [
      {
        name: 'PartitionYielded',
        message: `Partition ${String(claim.partitionNo)} gave its turn up, because others wait.`,
        partitionNo: claim.partitionNo,
        data: { partition: claim.partitionNo, epoch: claim.epoch, quantum: deps.config.quantumBatches },
      },
    ]);
  });
  deps.announcer.run(claim.runId);
  return 'yielded';
}

async function retry(deps: WorkerDeps, held: Held, error: FluxError, takings: number): Promise<Outcome> {
  const { claim } = held;
  const delayMs = backoff(takings, deps.random());
  await fenced(held, async (tx) => {
    requireHeld(claim, await returnPartition(tx, claim, { delayMs, uncount: false }));
    const traceId = (await findRun(tx, claim.runId))?.traceId ?? null;
    const after = { why: error.code, delayMs };
    await auditTaking(tx, deps, claim, { action: 'partition.return', traceId, errorCode: error.code, after });
    await appendEvents(tx, claim, [
      {
        name: 'PartitionRetried',
        message: `Partition ${String(claim.partitionNo)} is tried again in ${(delayMs / 1000).toFixed(1)} s: ${error.message}`,
        partitionNo: claim.partitionNo,
        data: { partition: claim.partitionNo, epoch: claim.epoch, reason: error.code, takings, delayMs },
      },
    ]);
  });
  deps.log.warn({ err: error, delayMs }, 'a partition is tried again');
  deps.announcer.run(claim.runId);
  return 'retried';
}

/** Fails the run with everything that is left of it: its last event, after which nothing can be written for it. */
async function fail(deps: WorkerDeps, held: Held, error: FluxError): Promise<Outcome> {
  const { claim } = held;
  const failure = describe(deps, error);
  await fenced(held, async (tx) => {
    await lockPartitions(tx, claim);
    requireHeld(claim, await finishPartition(tx, claim, 'FAILED'));
    const cancelled = await cancelOtherPartitions(tx, claim);
    await appendAudit(tx, {
      actor: `worker:${deps.config.id}`,
      role: 'worker',
      action: 'run.fail',
      resourceType: 'run',
      resourceId: claim.runId,
      success: false,
      errorCode: error.code,
      after: { ...failure, partition: claim.partitionNo },
      traceId: (await findRun(tx, claim.runId))?.traceId ?? null,
    });
    await appendEvents(
      tx,
      claim,
      [
        {
          name: 'RunFailed',
          message: failure.message,
          partitionNo: claim.partitionNo,
          data: {
            ...failure,
            partition: claim.partitionNo,
            cancelledPartitions: cancelled,
            issues: error.details.issues ?? [],
          },
        },
      ],
      { from: ['PENDING', 'IN_PROGRESS'], to: 'FAILED', finishes: true, failure },
    );
  });
  metrics.runs.inc({ status: 'FAILED' });
  deps.announcer.run(claim.runId);
  return 'failed';
}

/** What people are told. The text of an unexpected failure may hold anything, so it stays in the log under an id. */
function describe({ log }: WorkerDeps, error: FluxError): { class: string; code: string; message: string } {
  const named = { class: error.class, code: error.code };
  if (error.code !== 'INTERNAL') {
    log.warn({ err: error }, 'a run failed');
    return { ...named, message: error.message };
  }
  const errorId = randomUuid();
  log.error({ err: error, errorId }, 'a run failed unexpectedly');
  return { ...named, message: `An unexpected failure ended the run. Its id in the worker's log is ${errorId}.` };
}
