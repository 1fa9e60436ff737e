import { findConnection, findConnectionSecret } from '../db/connections.ts';
import { findKnownObject, type SourceObject } from '../db/source-objects.ts';
import { findUpload, listUploadParts } from '../db/uploads.ts';
import { FluxError } from '../errors.ts';
import type { PinRequest, PlanRequest, UploadedFile } from '../etl/engine-types.ts';
import { openConnectionSecret } from '../keys/sealed-records.ts';
import { lastMark } from './increment.ts';
import { newestObjectKey } from './object-keys.ts';
import type { Work } from './work.ts';

/** What opens the run's source. @throws SOURCE_INVALID its connection does not exist */
export async function sourceRequest(work: Work): Promise<Omit<PinRequest, 'signal'> & { connectionVersion: bigint }> {
  const { holder, claim, definition } = work;
  const { source } = definition;
  const connection = await findConnection(holder, source.connection);
  if (!connection)
    throw new FluxError(
      'SOURCE_INVALID',
      `Connection ${source.connection} does not exist. Register it, then start a new run.`,
    );
  const { name, kind, config, version } = connection;
  return {
    agency: claim.agencyId,
    connection: { name, kind, config, secret: connection.hasSecret ? await secretOf(work, { name, kind }) : null },
    connectionVersion: version,
    source,
    known: async (origin) => {
      const found = await findKnownObject(holder, { agencyId: claim.agencyId, connection: { name, version }, origin });
      return found?.etag ? { ...found, etag: found.etag } : null;
    },
    uploaded: kind === 'upload' ? await uploadOf(work) : null,
    since: (cursor) => lastMark(work, { name, version }, cursor),
  };
}

/** `upload://name`, or the name alone. */
async function uploadOf({ holder, claim, definition, deps }: Work): Promise<UploadedFile | null> {
  const name = definition.source.path.replace(/^upload:\/\//, '');
  const upload = await findUpload(holder, name, 'COMPLETE');
  if (!upload?.sha256) return null;
  const { keys } = deps;
  return {
    name,
    sha256: upload.sha256.toString('hex'),
    parts: await listUploadParts(holder, upload.uploadId),
    keyOf(version) {
      if (keys) return keys.ofVersion(holder, claim.agencyId, 'records', version);
      throw new FluxError(
        'KEY_UNAVAILABLE',
        `The upload ${name} is sealed, and this worker has no keys. Set FLUX_DATA_KEY.`,
      );
    },
  };
}

async function secretOf(
  { holder, claim, deps }: Work,
  { name, kind }: { name: string; kind: string },
): Promise<Record<string, unknown> | null> {
  const sealed = await findConnectionSecret(holder, name);
  if (sealed === null) return null;
  if (!deps.keys) {
    throw new FluxError(
      'KEY_UNAVAILABLE',
      `The secret of connection ${name} is sealed, and this worker has no keys. Set FLUX_DATA_KEY.`,
    );
  }
  const place = { agency: claim.agencyId, connection: name, kind };
  return openConnectionSecret({ keys: deps.keys, db: holder }, place, sealed);
}

/** Stores the source's exact bytes. @param planned what it will be planned with */
export async function pinSource(
  work: Work,
  { signal, ...planned }: Omit<PlanRequest, 'object'>,
): Promise<SourceObject> {
  const { connectionVersion, ...request } = await sourceRequest(work);
  const dataKey = await newestObjectKey(work);
  return {
    ...(await work.deps.engine.pinSource({ ...request, dataKey, planned, signal })),
    connectionName: request.connection.name,
    connectionVersion,
  };
}
