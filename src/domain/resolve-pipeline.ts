import type { RunPayload } from '../contracts/documents.ts';
import { findEnabledPipelines, findPipeline, type Pipeline } from '../db/pipelines.ts';
import type { Connection, Queryable } from '../db/pool.ts';
import { FluxError } from '../errors.ts';
import type { RunStage } from './run.ts';

/** What a request wants run. */
export interface Wanted {
  /** The pipeline's name, where the request names one. */
  name: string | null;
  /** Content type and use case, where a payload says them. */
  purpose: { contentType: string; useCase: string } | null;
  stage: RunStage;
  payload: RunPayload;
}

const candidateLimit = 20; // enough to choose from; a message is no catalogue

/**
 * The pipeline that a request means: the named one, which must then fit what the payload says; or the agency's only enabled
 * one of that content type and use case.
 *
 * @throws PIPELINE_NOT_FOUND, AMBIGUOUS_PIPELINE with the candidates; INVALID_INPUT the named one is of another purpose
 */
export async function resolvePipeline(tx: Connection, { name, purpose }: Wanted): Promise<Pipeline> {
  if (name !== null) return requireResolved(tx, await findPipeline(tx, name, null), { name, purpose });
  const found = await findEnabledPipelines(tx, { purpose, limit: candidateLimit });
  const [only, ...others] = found;
  const wanted = `content type ${purpose?.contentType ?? ''} and use case ${purpose?.useCase ?? ''}`;
  if (!only) throw notFound(`No enabled pipeline has ${wanted}.`, await enabledNames(tx));
  if (others.length > 0) {
    const candidates = found.map((pipeline) => pipeline.name);
    throw new FluxError(
      'AMBIGUOUS_PIPELINE',
      `Several enabled pipelines have ${wanted}: ${candidates.join(', ')}. Name one in metadata.pipeline.`,
      { details: { candidates } },
    );
  }
  return only;
}

/** As `resolvePipeline`, of a request that names one: `pipeline` is what was found under the name. */
export async function requireResolved(
  tx: Queryable,
  pipeline: Pipeline | null,
  { name, purpose }: Pick<Wanted, 'name' | 'purpose'>,
): Promise<Pipeline> {
  if (!pipeline?.enabled) {
    throw notFound(
      `There is ${pipeline ? 'a' : 'no'} pipeline ${String(name)}${pipeline ? ', but it is not enabled' : ''}.`,
      await enabledNames(tx),
    );
  }
  if (purpose && (purpose.contentType !== pipeline.contentType || purpose.useCase !== pipeline.useCase)) {
    throw new FluxError(
      'INVALID_INPUT',
      `The pipeline ${String(name)} has content type ${pipeline.contentType} and use case ${pipeline.useCase}; the payload says ${purpose.contentType} and ${purpose.useCase}. Make them agree.`,
    );
  }
  return pipeline;
}

async function enabledNames(tx: Queryable): Promise<string[]> {
  const pipelines = await findEnabledPipelines(tx, { purpose: null, limit: candidateLimit });
  return pipelines.map(({ name, contentType, useCase }) => `${name} (${contentType}, ${useCase})`);
}

function notFound(what: string, candidates: string[]): FluxError {
  const help =
    candidates.length > 0 ? `Enabled are: ${candidates.join(', ')}.` : 'None is enabled: register one first.';
  return new FluxError('PIPELINE_NOT_FOUND', `${what} ${help}`, { details: { candidates } });
}
