import { FluxError } from '../errors.ts';
import type { PipelineDefinition } from './engine-types.ts';
import { outputColumns } from './export/output-columns.ts';
import { partExpression } from './ingest/parts-reader.ts';
import type { ChildJob, OutputShape } from './protocol.ts';
import type { StagedColumn } from './staged-types.ts';
import { type PlacedTransform, placeTransforms } from './transform/segments.ts';
import type { TransformChain } from './transform/transforms.ts';

/** A column that is written, and the DuckDB expression that writes it. */
export interface Written {
  name: string;
  expression: string;
}

/** Whether the stage leaves typed parts behind, in place of rows for a dataset. */
export const writesParts = ({ stage }: ChildJob): boolean => stage === 'INGEST' || stage === 'TRANSFORM';

/** The steps that do the stage's transforms. */
export function transformsOf({ stage = 'FULL', definition, gathers }: ChildJob): PlacedTransform[] {
  const placed = placeTransforms(stage === 'FULL' || stage === 'TRANSFORM' ? (definition.transforms ?? []) : []);
  return gathers === undefined ? placed : placed.slice(0, gathers);
}

/** What comes out. @throws INVALID_INPUT it does not fit a dataset, or lacks its key; parts of an ingest may hold anything */
export function shapeOf(
  job: ChildJob,
  chain: Pick<TransformChain, 'columns'>,
  described: readonly { name: string; type: string }[],
): { output: readonly Written[]; shape: Omit<OutputShape, 'steps'> } {
  if (!writesParts(job)) {
    const output = outputColumns(described);
    checkKey(job.definition, output);
    return { output, shape: { columns: output.map(({ name, type }) => ({ name, type })), staged: null } };
  }
  const columns =
    job.stage === 'TRANSFORM' && job.gathers === undefined
      ? outputColumns(described).map(({ name, type }) => ({ name, type }))
      : [];
  const staged = chain.columns.map(({ name, original }, at): StagedColumn => ({
    name,
    original,
    type: described[at]?.type ?? 'VARCHAR',
  }));
  return {
    output: staged.map((column) => ({ name: column.name, expression: partExpression(column) })),
    shape: { columns, staged },
  };
}

function checkKey(definition: PipelineDefinition, output: readonly Written[]): void {
  const missing = (definition.destination.key ?? []).filter((name) => !output.some((column) => column.name === name));
  if (missing.length === 0) return;
  throw new FluxError(
    'INVALID_INPUT',
    `The destination's key names ${missing.join(', ')}, which the records do not have in the end. ` +
      `Columns: ${output.map(({ name }) => name).join(', ')}. Correct the pipeline.`,
    { details: { candidates: output.map(({ name }) => name) } },
  );
}
