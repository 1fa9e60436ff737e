import { type Definitions, decodeCheckpoint } from '../checkpoint/body.ts';
import { findPipeline } from '../db/pipelines.ts';
import type { Connection } from '../db/pool.ts';
import { type PartitionStand, readPartitionStands } from '../db/resume-plan.ts';
import type { PartitionKind } from '../db/run-vocabulary.ts';
import type { Run } from '../db/runs.ts';
import { type ErrorCode, FluxError, isFluxError } from '../errors.ts';
import { forbids } from './run-actions.ts';

/** What a resume does with a partition. */
export const resumeDispositions = ['KEPT', 'CONTINUED', 'REDONE', 'NEVER_STARTED'] as const;
export type ResumeDisposition = (typeof resumeDispositions)[number];

export interface PartitionPlan {
  partitionNo: number;
  kind: PartitionKind;
  disposition: ResumeDisposition;
  /** The checkpoint that it goes on from. */
  checkpointId: string | null;
  checkpointVersion: number | null;
  /** Records of the source that are not read again. */
  recordsKept: bigint;
  /** Checkpoints that do not verify and are passed over, newest first; what they stand for is done again. */
  corruptedVersions: readonly number[];
}

/** What a resume would do, and what forbids it. */
export interface ResumePlan {
  /** The attempt that it would begin. */
  attempt: number;
  forbiddenBy: { code: ErrorCode; message: string } | null;
  partitions: PartitionPlan[];
}

/** Works out what a resume of the run, as it stands, would keep and do. Changes nothing. */
export async function planResume(tx: Connection, run: Run): Promise<ResumePlan> {
  const stands = await readPartitionStands(tx, run.id);
  const forbidden = forbids(run, 'RESUME');
  return {
    attempt: run.attempt + 1,
    forbiddenBy:
      forbidden === null
        ? forbiddenByCheckpoints(stands, await definitionsOf(tx, run))
        : { code: 'INVALID_TRANSITION', message: forbidden },
    partitions: stands.map(planPartition),
  };
}

function planPartition(stand: PartitionStand): PartitionPlan {
  const { partitionNo, kind, checkpoint, corrupted } = stand;
  const disposition = dispositionOf(stand);
  const goesOn = disposition === 'CONTINUED';
  return {
    partitionNo,
    kind,
    disposition,
    checkpointId: goesOn ? (checkpoint?.id ?? null) : null,
    checkpointVersion: goesOn ? (checkpoint?.version ?? null) : null,
    recordsKept: keptRecords(stand, disposition),
    corruptedVersions: disposition === 'KEPT' ? [] : corrupted,
  };
}

function dispositionOf({ status, checkpoint, epoch }: PartitionStand): ResumeDisposition {
  if (status === 'COMPLETED') return 'KEPT';
  if (checkpoint) return 'CONTINUED';
  return epoch > 0 ? 'REDONE' : 'NEVER_STARTED';
}

function keptRecords({ recordsRead, checkpoint }: PartitionStand, disposition: ResumeDisposition): bigint {
  if (disposition === 'KEPT') return recordsRead;
  if (disposition !== 'CONTINUED' || !checkpoint) return 0n;
  const { counts } = JSON.parse(checkpoint.body.toString('utf8')) as { counts?: { read?: number } };
  return BigInt(counts?.read ?? 0);
}

/** The first partition, by number, whose checkpoints let nobody go on. */
function forbiddenByCheckpoints(
  stands: readonly PartitionStand[],
  definitions: Definitions,
): ResumePlan['forbiddenBy'] {
  for (const { partitionNo, status, checkpoint, corrupted } of stands) {
    if (status === 'COMPLETED') continue;
    if (!checkpoint && corrupted.length > 0) {
      return {
        code: 'CHECKPOINT_CORRUPTED',
        message: `None of the ${String(corrupted.length)} checkpoints of partition ${String(partitionNo)} verifies, so nothing says where it stood. Rerun the run.`,
      };
    }
    const misfit = checkpoint && misfitOf(checkpoint, definitions);
    if (misfit) return { code: misfit.code, message: `Partition ${String(partitionNo)}: ${misfit.message}` };
  }
  return null;
}

function misfitOf(checkpoint: { body: Buffer; hash: Buffer }, definitions: Definitions): FluxError | null {
  try {
    decodeCheckpoint(checkpoint, definitions);
    return null;
  } catch (cause) {
    if (isFluxError(cause, 'CHECKPOINT_INCOMPATIBLE')) return cause;
    throw cause;
  }
}

async function definitionsOf(tx: Connection, { pipelineName, pipelineVersion }: Run): Promise<Definitions> {
  const pipeline = await findPipeline(tx, pipelineName, pipelineVersion);
  if (!pipeline) {
    throw new FluxError('PIPELINE_NOT_FOUND', `Pipeline ${pipelineName} ${String(pipelineVersion)} does not exist.`);
  }
  const { contractName, contractVersion } = pipeline;
  return {
    pipeline: { name: pipelineName, version: pipelineVersion },
    contract:
      contractName === null || contractVersion === null ? null : { name: contractName, version: contractVersion },
  };
}
