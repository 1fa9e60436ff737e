import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

import { FluxError } from '../errors.ts';
import { openPlainFile } from '../objects/byte-file.ts';
import type { GrowingObject } from '../objects/growing.ts';
import type { ObjectSeal, ObjectStore } from '../objects/object-store.ts';
import { corrupted, openSealedFile, readSealed } from '../objects/sealed-file.ts';
import { sealedByteCount } from '../objects/sealed-format.ts';
import { type Compression, decompressTo, type GrowthLimits } from './decompressed-copy.ts';
import type { PinnedObject, PipelineDefinition, PlanRequest, StagedPart } from './engine-types.ts';
import type { LocalPart } from './ingest/parts-reader.ts';
import { intoNewFile } from './into-new-file.ts';
import { writePagedRecords } from './paged-content.ts';
import { type ChildJob, type Range, sendSeal } from './protocol.ts';
import { type Encoding, isEncoding } from './utf8-content.ts';

/** A source's bytes beside the work, for as long as the work takes. */
export interface LocalObject {
  path: string;
  origin: string;
  sha256: string;
  byteCount: number;
}

/** What a child is opened for; a dry run's source stands in no store, and one that is being copied not yet. */
export type OpenRequest = PlanRequest & { localObject?: LocalObject; growing?: GrowingObject };

type Input = Pick<ChildJob, 'objectPath' | 'objectByteCount' | 'seal' | 'growing' | 'staged'>;

/**
 * What a child reads: one object (of a compressed one its content, in the step's own folder), or the parts of a range; of a stage's input as a whole only the numbers, because a plan reads none.
 *
 * @param folder the step's own; copies that DuckDB needs go there
 * @throws KEY_UNAVAILABLE, OBJECT_CORRUPTED, SOURCE_UNAVAILABLE; SOURCE_INVALID the content cannot be decompressed
 */
export async function openInput(
  objects: ObjectStore,
  request: OpenRequest,
  { range, folder, limits }: { range: Range | null; folder: string; limits: GrowthLimits },
): Promise<Input> {
  const { object, staged, localObject, growing, definition } = request;
  if (staged)
    return { objectPath: '', objectByteCount: 0, staged: await openParts(objects, request, { range, folder }) };
  if (growing) {
    const { path: objectPath, byteCount: objectByteCount, seal } = growing;
    return { objectPath, objectByteCount, seal: seal && sendSeal(seal), growing: true };
  }
  const source = localObject ?? object;
  if (!source) throw new FluxError('INTERNAL', 'The ETL engine was asked to read, and nobody said what.');
  const pinned = object && !localObject ? await openPinned(objects, object, request) : null;
  const found = pinned ?? { path: localObject?.path ?? '', seal: null };
  const { compression, encoding } = writtenAs(definition);
  if (compression !== null || encoding !== null) {
    const objectPath = join(folder, 'content');
    const { byteCount, origin } = source;
    const bytes = found.seal ? readSealed(found.path, found.seal) : createReadStream(found.path);
    const objectByteCount = await decompressTo(
      objectPath,
      { bytes, byteCount, origin },
      { compression, encoding, limits, signal: request.signal },
    );
    return { objectPath, objectByteCount };
  }
  if (definition.source.pages) {
    const objectPath = join(folder, 'content');
    const { recordPath } = definition.source.format;
    const file = found.seal ? openSealedFile(found.path, found.seal) : openPlainFile(found.path);
    try {
      const objectByteCount = await writePagedRecords(
        objectPath,
        { file, origin: source.origin },
        { recordPath: typeof recordPath === 'string' ? recordPath : '', signal: request.signal },
      );
      return { objectPath, objectByteCount };
    } finally {
      file.close();
    }
  }
  const { path, seal } = await readableObject(found, definition, folder);
  return { objectPath: path, objectByteCount: source.byteCount, seal: seal && sendSeal(seal) };
}

/** Whether a source's bytes are read where they stand, from the first to the last; others are copied or unpacked for a step. */
export function isReadInPlace(definition: PipelineDefinition): boolean {
  const { format, pages } = definition.source;
  const { compression, encoding } = writtenAs(definition);
  return compression === null && encoding === null && !pages && format.type !== 'parquet' && format.type !== 'xlsx';
}

/** How the content differs from the plain UTF-8 that readers take; null: it does not. */
function writtenAs({ source: { format } }: PipelineDefinition): {
  compression: Compression | null;
  encoding: Encoding | null;
} {
  const { compression, encoding } = format;
  return {
    compression: compression === 'gzip' || compression === 'zstd' ? compression : null,
    encoding: isEncoding(encoding) ? encoding : null,
  };
}

async function openParts(
  objects: ObjectStore,
  request: OpenRequest,
  { range, folder }: { range: Range | null; folder: string },
): Promise<NonNullable<ChildJob['staged']>> {
  const { columns, parts } = request.staged ?? { columns: [], parts: [] };
  const read = range?.parts ?? [];
  const local: LocalPart[] = range
    ? []
    : withPlaces(parts).map(({ records, before }) => ({ path: '', rows: records, before }));
  for (const [at, part] of read.entries()) {
    const pinned = await openPinned(objects, { ...part, origin: 'an earlier stage' }, request);
    const { path } = await plainCopy(pinned, join(folder, `part-${String(at)}`));
    local.push({ path, rows: part.records, before: part.before });
  }
  return { columns, parts: local, byteCount: (range ? read : parts).reduce((sum, part) => sum + part.byteCount, 0) };
}

/** Each part with the number of records before it. */
export function withPlaces(parts: readonly StagedPart[]): (StagedPart & { before: number })[] {
  let before = 0;
  return parts.map((part) => {
    const place = { ...part, before };
    before += part.records;
    return place;
  });
}

export interface Pinned {
  path: string;
  /** null: plain */
  seal: ObjectSeal | null;
}

/** The file of an object, and its seal. @throws OBJECT_CORRUPTED, KEY_UNAVAILABLE, SOURCE_UNAVAILABLE */
export async function openPinned(
  objects: ObjectStore,
  object: Pick<PinnedObject, 'address' | 'sha256' | 'byteCount' | 'origin' | 'keyVersion'>,
  { dataKeyOf }: Pick<PlanRequest, 'dataKeyOf'>,
): Promise<Pinned> {
  const path = objects.pathOf(object.address);
  const seal = await objects.sealOf(object.address, (version) => {
    if (dataKeyOf) return dataKeyOf(version);
    throw new FluxError(
      'KEY_UNAVAILABLE',
      `The pinned object of ${object.origin} is sealed, and this worker has no keys. Set FLUX_DATA_KEY and leave FLUX_ENCRYPTION on.`,
    );
  });
  // Whoever can write to the store must not pass by the seal with a plain file, or with another object of the agency.
  if (seal === null && object.keyVersion !== undefined && object.keyVersion !== null) {
    throw corrupted(`the pinned object of ${object.origin} was sealed, and its file is plain`);
  }
  if (seal !== null && seal.sha256.toString('hex') !== object.sha256) {
    throw corrupted(`the pinned object of ${object.origin} holds another content than the run pinned`);
  }
  await checkObject(path, object, seal === null ? object.byteCount : sealedByteCount(seal));
  return { path, seal };
}

/** DuckDB reads Parquet, and a library XLSX, from a plain file: one is made in the step's own folder, which goes with the step. */
async function readableObject(pinned: Pinned, { source }: PipelineDefinition, folder: string): Promise<Pinned> {
  const { type } = source.format;
  return type === 'parquet' || type === 'xlsx' ? plainCopy(pinned, join(folder, 'source')) : pinned;
}

async function plainCopy(pinned: Pinned, copy: string): Promise<Pinned> {
  const { path, seal } = pinned;
  if (seal === null) return pinned;
  await intoNewFile(copy, (file) => pipeline(readSealed(path, seal), file));
  return { path: copy, seal: null };
}

async function checkObject(path: string, object: Pick<PinnedObject, 'origin'>, byteCount: number): Promise<void> {
  const found = await stat(path).catch(() => null);
  if (found?.isFile() === true && found.size === byteCount) return;
  throw new FluxError(
    'SOURCE_UNAVAILABLE',
    `The pinned object of ${object.origin} is ${found === null ? 'not there' : `${found.size} bytes long`}, expected ${byteCount} bytes. ` +
      'Check that every worker sees the object store.',
  );
}
