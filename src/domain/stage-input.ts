import type { Pipeline } from '../db/pipelines.ts';
import type { Connection } from '../db/pool.ts';
import { findStageOutput } from '../db/run-parts.ts';
import { FluxError } from '../errors.ts';
import type { PipelineDefinition } from '../etl/engine-types.ts';
import type { RunStage } from './run.ts';

/**
 * The run whose parts a single stage reads: the last completed one of the stage before. A pipeline without transforms may
 * export what was ingested. Null for the stages that read a source.
 *
 * @throws STAGE_INPUT_MISSING there is none
 */
export async function stageInput(tx: Connection, pipeline: Pipeline, stage: RunStage): Promise<string | null> {
  if (stage === 'FULL' || stage === 'INGEST') return null;
  const stages = earlierStages(pipeline, stage);
  const { name, classification } = pipeline;
  const input = await findStageOutput(tx, { pipeline: name, stages, classification });
  if (input !== null) return input;
  const wanted = stages.join(' or ');
  throw new FluxError(
    'STAGE_INPUT_MISSING',
    `Stage ${stage} of pipeline ${name} reads what a completed ${wanted} run has left behind, and there is none. Start one first, with stage ${wanted.toLowerCase()}.`,
    { details: { issues: [{ path: '/stage', rule: 'input', message: `expected a completed ${wanted} run` }] } },
  );
}

function earlierStages({ definition }: Pipeline, stage: 'TRANSFORM' | 'EXPORT'): RunStage[] {
  if (stage === 'TRANSFORM') return ['INGEST'];
  const { transforms } = JSON.parse(definition) as PipelineDefinition;
  return (transforms ?? []).length === 0 ? ['TRANSFORM', 'INGEST'] : ['TRANSFORM'];
}
