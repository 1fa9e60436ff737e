import { mkdir, readdir, rm } from 'node:fs/promises';
import path from 'node:path';

import { findContract } from '../db/contracts.ts';
import { findPipeline } from '../db/pipelines.ts';
import type { Queryable } from '../db/pool.ts';
import { lakeSchema } from '../db/roles.ts';
import { findRun, type Run } from '../db/runs.ts';
import { readPayload } from '../domain/run-payload.ts';
import { FluxError } from '../errors.ts';
import type { PipelineDefinition } from '../etl/engine-types.ts';
import { appendEvents, type NewRunEvent } from '../events/append.ts';
import { auditTaking } from './audit-taking.ts';
import { isPoison } from './decide-ending.ts';
import { fenced } from './fenced.ts';
import type { Held, Work, WorkerDeps } from './work.ts';

/**
 * Reads what the steps need, makes the taking's folder, and tells the run's history that we hold the partition.
 *
 * @throws POISON_PARTITION too many takings without one committed batch
 */
export async function openWork(
  deps: WorkerDeps,
  held: Held,
  taking: Pick<Work, 'draining' | 'closing' | 'turn'>,
): Promise<Work> {
  requireNotPoison(deps, held);
  const { holder, claim } = held;
  const run = await findRun(holder, claim.runId);
  if (!run) throw new FluxError('NOT_FOUND', `Run ${claim.runId} of ${claim.agencyId} does not exist.`);
  taking.turn.traceId = run.traceId;
  const folder = await makeFolder(deps.config.workFolder, held);
  const work: Work = {
    ...held,
    ...taking,
    ...(await readDefinitions(deps, holder, run)),
    deps,
    run,
    folder,
    lake: lakeSchema(claim.agencyId),
  };
  await announceTaking(work);
  return work;
}

function requireNotPoison({ config }: WorkerDeps, { claim }: Held): void {
  if (!isPoison({ takings: claim.takings, takingsMax: config.takingsMax })) return;
  throw new FluxError(
    'POISON_PARTITION',
    `Partition ${String(claim.partitionNo)} was taken ${String(config.takingsMax)} times without one committed batch, and its workers ` +
      'ended without a word. See their logs (memory, a native crash), correct the cause, and start a new run.',
  );
}

async function readDefinitions(
  deps: WorkerDeps,
  db: Queryable,
  run: Run,
): Promise<Pick<Work, 'definition' | 'definitions' | 'contract'>> {
  const pipeline = await findPipeline(db, run.pipelineName, run.pipelineVersion);
  if (!pipeline)
    throw new FluxError(
      'PIPELINE_NOT_FOUND',
      `Pipeline ${run.pipelineName} ${String(run.pipelineVersion)} does not exist.`,
    );
  const definition = withSourceOf(
    await readPayload(deps, db, run),
    JSON.parse(pipeline.definition) as PipelineDefinition,
  );
  const name = { pipeline: { name: pipeline.name, version: pipeline.version } };
  if (pipeline.contractName === null) return { definition, definitions: { ...name, contract: null }, contract: null };
  const contract = await findContract(db, pipeline.contractName, pipeline.contractVersion);
  if (!contract)
    throw new FluxError(
      'NOT_FOUND',
      `Contract ${pipeline.contractName} ${String(pipeline.contractVersion)} does not exist.`,
    );
  return {
    definition,
    definitions: { ...name, contract: { name: contract.name, version: contract.version } },
    contract: JSON.parse(contract.document) as Work['contract'],
  };
}

/** A payload may name another path inside the pipeline's connection. */
function withSourceOf(payload: Record<string, unknown>, definition: PipelineDefinition): PipelineDefinition {
  const path = payload['source'];
  return typeof path === 'string' ? { ...definition, source: { ...definition.source, path } } : definition;
}

/** A folder for this taking. That it cannot be made is this worker's trouble, not the run's: another may have room. */
async function makeFolder(root: string, held: Held): Promise<string> {
  try {
    return await clearedFolder(root, held);
  } catch (cause) {
    throw new FluxError(
      'UNAVAILABLE',
      `The worker cannot write below ${root} (${(cause as Error).message}). Make room, or correct its owner.`,
      { cause },
    );
  }
}

/** What earlier takings on this machine left behind goes. */
async function clearedFolder(root: string, { claim }: Held): Promise<string> {
  const parent = path.join(root, claim.runId);
  const prefix = `${String(claim.partitionNo)}-`;
  const folder = path.join(parent, `${prefix}${String(claim.epoch)}`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const left = (await readdir(parent)).filter((name) => name.startsWith(prefix) && path.join(parent, name) !== folder);
  await Promise.all(left.map((name) => rm(path.join(parent, name), { recursive: true, force: true })));
  return folder;
}

async function announceTaking(work: Work): Promise<void> {
  const { claim, run, deps } = work;
  const first = run.startedAt === null;
  const taken = takingEvent(work);
  const start: NewRunEvent = {
    name: 'RunStarted',
    message: `Run of ${run.pipelineName} version ${String(run.pipelineVersion)} started.`,
    data: { worker: deps.config.id },
  };
  // A resumed run is PENDING until the first of its partitions is taken; two may be at once.
  await fenced(work, async (tx) => {
    await auditTaking(tx, deps, claim, { action: 'partition.take', traceId: run.traceId });
    await appendEvents(tx, claim, first ? [start, taken] : [taken], {
      from: ['PENDING', 'IN_PROGRESS'],
      to: 'IN_PROGRESS',
      ...(first ? { starts: true } : {}),
    });
  });
  deps.announcer.run(claim.runId);
}

function takingEvent({ claim, deps }: Work): NewRunEvent {
  const data = { partition: claim.partitionNo, kind: claim.kind, epoch: claim.epoch, worker: deps.config.id };
  const partition = `Partition ${String(claim.partitionNo)}`;
  return claim.takenOver
    ? {
        name: 'PartitionTakenOver',
        message: `${partition} taken over: its holder let the lease run out.`,
        partitionNo: claim.partitionNo,
        data,
      }
    : { name: 'PartitionClaimed', message: `${partition} claimed.`, partitionNo: claim.partitionNo, data };
}
