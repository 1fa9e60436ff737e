import { findConnection } from '../db/connections.ts';
import type { SourceObject } from '../db/source-objects.ts';
import { FluxError } from '../errors.ts';
import type { PinRequest } from '../etl/engine-types.ts';
import { newestObjectKey } from './object-keys.ts';
import type { Work } from './work.ts';

/** What opens the run's source. @throws SOURCE_INVALID its connection does not exist */
export async function sourceRequest(work: Work): Promise<Omit<PinRequest, 'signal'>> {
  const { holder, claim, definition } = work;
  const { source } = definition;
  const connection = await findConnection(holder, source.connection);
  if (!connection)
    throw new FluxError(
      'SOURCE_INVALID',
      `Connection ${source.connection} does not exist. Register it, then start a new run.`,
    );
  const { name, kind, config } = connection;
  return { agency: claim.agencyId, connection: { name, kind, config }, source };
}

/** Stores the source's exact bytes. */
export async function pinSource(work: Work, signal: AbortSignal): Promise<SourceObject> {
  const request = await sourceRequest(work);
  const dataKey = await newestObjectKey(work);
  return {
    ...(await work.deps.engine.pinSource({ ...request, dataKey, signal })),
    connectionName: request.connection.name,
  };
}
