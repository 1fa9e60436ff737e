import { pipeline } from 'node:stream/promises';

import { createFileSource } from '../connectors/file-source.ts';
import { createHttpsSource } from '../connectors/https/https-source.ts';
import { createPostgresSource } from '../connectors/postgres/postgres-source.ts';
import { createUploadSource } from '../connectors/upload-source.ts';
import type { SourceConnector, SourceRequest, SourceStream, SourceUnchanged } from '../connectors/source.ts';
import { runningSha256 } from '../crypto/hash.ts';
import { FluxError } from '../errors.ts';
import type { GrowthWatch } from '../objects/growing.ts';
import type { ObjectStore } from '../objects/object-store.ts';
import type { KnownObject, PinnedObject, PinRequest } from './engine-types.ts';
import { intoNewFile } from './into-new-file.ts';
import type { LocalObject } from './open-input.ts';

export interface SourceDeps {
  objects: ObjectStore;
  /** Agency -> absolute folders that its file connections may read (FLUX_SOURCE_ROOTS). */
  sourceRoots: Readonly<Record<string, readonly string[]>>;
  /** Agency -> hosts whose private addresses, and whose plain http, its connections may reach (FLUX_SOURCE_PRIVATE_HOSTS). */
  sourcePrivateHosts?: Readonly<Record<string, readonly string[]>>;
}

/** Copies sources through their connectors. */
export interface SourcePins {
  /** Into the object store, for good. @param begun is told where, when the bytes begin to come and their number is known */
  pin(request: PinRequest, begun?: GrowthWatch['begun']): Promise<PinnedObject>;
  /** Into a file of the step. */
  copy(request: PinRequest, path: string): Promise<LocalObject>;
}

const mediaTypes: Readonly<Record<string, string>> = {
  csv: 'text/csv',
  tsv: 'text/tab-separated-values',
  json: 'application/json',
  ndjson: 'application/x-ndjson',
  parquet: 'application/vnd.apache.parquet',
  xlsx: 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet',
  xml: 'application/xml',
};

export function createSourcePins(deps: SourceDeps): SourcePins {
  const connectors = connectorsOf(deps);
  return {
    async pin(request, begun) {
      const { agency, source, dataKey = null } = request;
      const known = knownTo(deps, request);
      const opened = await open(connectors, request, known.find);
      if ('unchanged' in opened) {
        const object = await known.again(opened.origin);
        // Retention took it in between: then it is sent again after all.
        // Up to where that run has read is not for this one to say.
        return object ? { ...object, increment: null } : this.pin({ ...request, known: undefined }, begun);
      }
      const { origin, modifiedAt, etag = null, increment = null, bytes, byteCount } = opened;
      const watch = begun && byteCount !== undefined ? { byteCount, begun } : undefined;
      const stored = await deps.objects.put(agency, bytes, dataKey, watch);
      const mediaType = mediaTypes[source.format.type] ?? 'application/octet-stream';
      return { ...stored, origin, modifiedAt, etag, increment, recordCount: opened.recordCount?.() ?? null, mediaType };
    },
    async copy(request, path) {
      const { origin, bytes } = (await open(connectors, request, undefined)) as SourceStream;
      const hash = runningSha256();
      let byteCount = 0;
      const counted = async function* (): AsyncGenerator<Uint8Array> {
        for await (const piece of bytes) {
          hash.update(piece);
          byteCount += piece.byteLength;
          yield piece;
        }
      };
      await intoNewFile(path, (file) => pipeline(counted, file));
      return { path, origin, sha256: hash.digest().toString('hex'), byteCount };
    },
  };
}

function connectorsOf({
  objects,
  sourceRoots,
  sourcePrivateHosts: privateHosts = {},
}: SourceDeps): Record<string, SourceConnector> {
  return {
    file: createFileSource(sourceRoots),
    https: createHttpsSource({ privateHosts }),
    // The SDK is large, and most workers never need it.
    s3: {
      async open(request) {
        const { createS3Source } = await import('../connectors/s3/s3-source.ts');
        return createS3Source({ privateHosts }).open(request);
      },
    },
    upload: createUploadSource(objects),
    postgres: createPostgresSource({ privateHosts }),
  };
}

async function open(
  connectors: Readonly<Record<string, SourceConnector>>,
  { agency, connection, source, since, uploaded = null, signal }: PinRequest,
  known: SourceRequest['known'],
): Promise<SourceStream | SourceUnchanged> {
  const connector = Object.hasOwn(connectors, connection.kind) ? connectors[connection.kind] : undefined;
  if (connector === undefined) {
    throw new FluxError(
      'SOURCE_INVALID',
      `Connection "${connection.name}" is of kind "${connection.kind}". Offered: ${Object.keys(connectors).join(', ')}.`,
    );
  }
  requirePages({ connection, source });
  return connector.open({ agency, connection, source, known, since, uploaded, signal });
}

function requirePages({ connection, source }: Pick<PinRequest, 'connection' | 'source'>): void {
  if (source.pages === undefined || connection.kind === 'https') return;
  throw new FluxError(
    'SOURCE_INVALID',
    `Connection "${connection.name}" is of kind "${connection.kind}", and source.pages is for https alone. Remove it.`,
  );
}

/** What was pinned of an origin before, as far as it can serve this run: it is there, and sealed just where this run would seal. */
function knownTo(
  { objects }: SourceDeps,
  { known, dataKey = null }: PinRequest,
): { find: SourceRequest['known']; again(origin: string): Promise<PinnedObject | null> } {
  const fitting = async (origin: string): Promise<KnownObject | null> => {
    const found = (await known?.(origin)) ?? null;
    const sealed = (found?.keyVersion ?? null) !== null;
    return found !== null && sealed === (dataKey !== null) && (await objects.keep(found.address)) ? found : null;
  };
  return { find: known && fitting, again: fitting };
}
