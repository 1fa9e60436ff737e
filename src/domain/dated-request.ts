import { type RunPayload, validateRunPayload } from '../contracts/documents.ts';
import { findPipeline, type Pipeline } from '../db/pipelines.ts';
import type { Connection } from '../db/pool.ts';
import { FluxError } from '../errors.ts';
import type { Caller } from './caller.ts';
import { requirePathInside, requirePriority } from './start-run.ts';
import { withDate } from './source-date.ts';

/** What schedules and backfills hand to each of their runs. */
export interface DatedRequest {
  pipeline: string;
  /** In place of the pipeline's own path; may hold {date}, {year}, {month}, {day}. */
  source: string | null;
  /** The caller's own notes, kept with each run. */
  metadata: unknown;
  priority: number | null;
}

/**
 * Checks it as if a run were started with it now.
 *
 * @throws INVALID_INPUT
 */
export function checkDatedRequest({ principal }: Caller, request: DatedRequest): RunPayload['metadata'] {
  requirePriority(request.priority);
  if (request.source !== null) requirePathInside(withDate(request.source, '2026-01-01'));
  const notes = request.metadata ?? {};
  for (const name of ['date', 'schedule', 'tick', 'backfill'] as const) {
    if (typeof notes === 'object' && name in notes) {
      throw new FluxError('INVALID_INPUT', `metadata.${name} is written by Flux for each run. Leave it out.`, {
        details: { issues: [{ path: `/metadata/${name}`, rule: 'reserved', message: 'is written by Flux' }] },
      });
    }
  }
  const { metadata } = validateRunPayload({
    agency: principal.agency,
    content_type: 'text',
    use_case: 'research',
    source: request.source,
    metadata: notes,
  });
  return metadata;
}

/** @throws PIPELINE_NOT_FOUND there is none of that name that is enabled */
export async function requirePipeline(tx: Connection, name: string): Promise<Pipeline> {
  const pipeline = await findPipeline(tx, name, null);
  if (pipeline?.enabled) return pipeline;
  throw new FluxError(
    'PIPELINE_NOT_FOUND',
    `There is no enabled pipeline ${name}. List yours with flux pipelines list.`,
  );
}
