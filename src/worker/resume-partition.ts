import { appendAudit } from '../audit/append.ts';
import { findResumption, type Resumption } from '../checkpoint/resume.ts';
import type { Position } from '../checkpoint/position.ts';
import { deleteCheckpointsAfter, recordsCommittedAfter } from '../db/checkpoints.ts';
import { deleteFromLoad } from '../db/lake.ts';
import type { Connection } from '../db/pool.ts';
import { advancePartition } from '../db/partitions.ts';
import { deleteRejectedRecords } from '../db/rejected-records.ts';
import { setStepCounts } from '../db/step-counts.ts';
import { deletePartsAfter } from '../db/run-parts.ts';
import { appendEvents } from '../events/append.ts';
import type { Destination } from './commit-batch.ts';
import { fenced, requireHeld } from './fenced.ts';
import type { Work } from './work.ts';

/**
 * Finds where the partition goes on. When newer checkpoints did not verify, what was committed after the good one is undone
 * first, in one transaction that says so in the run's history and in the audit log.
 *
 * @throws CHECKPOINT_CORRUPTED none verifies
 */
export async function resumePartition(work: Work, destination: Destination): Promise<Position> {
  const resumption = await findResumption(work.holder, work.claim, work.definitions);
  if (resumption.corrupted.length > 0) await undoAfter(work, destination, resumption);
  return resumption.position;
}

async function undoAfter(
  work: Work,
  destination: Destination,
  { position, checkpointId, corrupted }: Resumption,
): Promise<void> {
  const { claim, deps, run } = work;
  await fenced(work, async (tx) => {
    // The checkpoints cannot be believed; the run's history says which records their batches held.
    const span = await recordsCommittedAfter(tx, claim, position.version);
    const undone = {
      written: await undoWritten(tx, work, destination, { span, version: position.version }),
      // What a reprocessing run refused again stands in the first run's quarantine, and gets the same verdict once more.
      rejected: span && run.reprocessOf === null ? await deleteRejectedRecords(tx, claim, span) : 0,
    };
    await deleteCheckpointsAfter(tx, claim, position.version);
    await setStepCounts(tx, claim, position.steps);
    requireHeld(claim, await advancePartition(tx, claim, position.counts, { progress: false }));
    const data = {
      partition: claim.partitionNo,
      rejectedVersions: [...corrupted],
      resumesFrom: position.version,
      checkpointId,
      hash: position.hash?.toString('hex') ?? null,
      undone,
    };
    await appendAudit(tx, {
      actor: `worker:${deps.config.id}`,
      role: 'worker',
      action: 'checkpoint.reject',
      resourceType: 'run',
      resourceId: claim.runId,
      success: false,
      errorCode: 'CHECKPOINT_CORRUPTED',
      after: data,
      traceId: run.traceId,
    });
    await appendEvents(tx, claim, [
      {
        name: 'CheckpointRejected',
        message:
          `Checkpoint ${corrupted.join(', ')} of partition ${String(claim.partitionNo)} does not match its SHA-256 or its place; ` +
          `the run goes on from checkpoint ${String(position.version)}, and what came after it is done again.`,
        partitionNo: claim.partitionNo,
        data,
      },
    ]);
  });
  deps.announcer.run(claim.runId);
}

/** @returns how many records */
async function undoWritten(
  tx: Connection,
  { claim }: Work,
  destination: Destination,
  { span, version }: { span: { first: bigint; last: bigint } | null; version: number },
): Promise<number> {
  if (destination === 'parts') return deletePartsAfter(tx, claim, version);
  return span ? deleteFromLoad(tx, destination.table, span) : 0;
}
