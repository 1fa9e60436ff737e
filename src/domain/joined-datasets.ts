import { classifications } from '../auth/principal.ts';
import { joinedDatasets, type JoinedDataset } from '../contracts/joins.ts';
import type { DatasetColumn } from '../db/loads.ts';
import type { Pipeline } from '../db/pipelines.ts';
import type { Queryable } from '../db/pool.ts';
import { findJoinable, type JoinableDataset } from '../db/run-references.ts';
import { FluxError } from '../errors.ts';
import type { PipelineDefinition } from '../etl/engine-types.ts';
import type { RunStage } from './run.ts';

/**
 * Whether what a pipeline joins is there when a run is asked for. Its records are pinned later, when the run is planned.
 *
 * @throws REFERENCE_MISSING
 */
export async function requireJoinedDatasets(tx: Queryable, pipeline: Pipeline, stage: RunStage): Promise<void> {
  if (stage !== 'FULL' && stage !== 'TRANSFORM') return;
  const { transforms } = JSON.parse(pipeline.definition) as PipelineDefinition;
  const needed = joinedDatasets(transforms);
  if (needed.length === 0) return;
  const found = await findJoinable(
    tx,
    needed.map(({ dataset }) => dataset),
  );
  for (const each of needed) {
    requireJoinable(each, found.find(({ name }) => name === each.dataset) ?? null, pipeline.classification);
  }
}

/**
 * Whether a run may join a dataset. Its own classification becomes that of all it makes, so it reads nothing that is classified higher.
 * That there is such a thing is not told.
 *
 * @param classification the run's
 * @returns the columns that are read, as the dataset has them
 * @throws REFERENCE_MISSING
 */
export function requireJoinable(
  { dataset, columns }: JoinedDataset,
  found: Omit<JoinableDataset, 'name'> | null,
  classification: number,
): DatasetColumn[] {
  if (!found || found.loads === 0 || found.classification === null || found.classification > classification) {
    throw missing(
      dataset,
      `The pipeline joins the dataset ${dataset}, and there is no completed load of it that a run classified ` +
        `${String(classifications[classification])} may read. Load it first, and classify the pipeline as high as what it joins.`,
    );
  }
  const unknown = columns.filter((name) => !found.columns.some((column) => column.name === name));
  if (unknown.length === 0)
    return columns.flatMap((name) => found.columns.find((column) => column.name === name) ?? []);
  throw missing(
    dataset,
    `The dataset ${dataset}, which the pipeline joins, has no column ${unknown.join(', ')}. ` +
      `Columns: ${found.columns.map(({ name }) => name).join(', ')}. Correct the pipeline.`,
  );
}

function missing(dataset: string, message: string): FluxError {
  return new FluxError('REFERENCE_MISSING', message, { details: { dataset } });
}
