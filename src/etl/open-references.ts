import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { runningSha256 } from '../crypto/hash.ts';
import type { ObjectStore } from '../objects/object-store.ts';
import { corrupted, readSealed } from '../objects/sealed-file.ts';
import type { PlanRequest } from './engine-types.ts';
import { intoNewFile } from './into-new-file.ts';
import { openPinned } from './open-input.ts';
import type { LocalReference } from './protocol.ts';
import type { Reference } from './staged-types.ts';

/**
 * Copies what the transforms join into a step's folder, where its DuckDB may read, and proves that it is what was pinned.
 *
 * @throws OBJECT_CORRUPTED its bytes are others
 * @throws KEY_UNAVAILABLE, SOURCE_UNAVAILABLE
 */
export async function openReferences(
  objects: ObjectStore,
  { references = [], dataKeyOf }: Pick<PlanRequest, 'references' | 'dataKeyOf'>,
  folder: string,
): Promise<LocalReference[]> {
  const local: LocalReference[] = [];
  for (const [at, reference] of references.entries()) {
    const path = join(folder, `reference-${String(at)}.csv`);
    const { sha256, bytes } = hashing();
    const content = await bytesOf(objects, reference, dataKeyOf);
    await intoNewFile(path, (file) => pipeline(content, bytes, file));
    const { dataset, columns, records } = reference;
    if (sha256() !== reference.sha256)
      throw corrupted(`the pinned records of the dataset ${dataset} are others than the run pinned`);
    local.push({ dataset, columns, records, path });
  }
  return local;
}

async function bytesOf(
  objects: ObjectStore,
  { place, dataset, sha256, byteCount }: Reference,
  dataKeyOf: PlanRequest['dataKeyOf'],
): Promise<AsyncIterable<Uint8Array>> {
  if ('path' in place) return createReadStream(place.path);
  const { path, seal } = await openPinned(
    objects,
    { ...place, sha256, byteCount, origin: `the dataset ${dataset}` },
    { dataKeyOf },
  );
  return seal ? readSealed(path, seal) : createReadStream(path);
}

function hashing(): { bytes: Transform; sha256(): string } {
  const hash = runningSha256();
  const bytes = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      done(null, chunk);
    },
  });
  return { bytes, sha256: () => hash.digest().toString('hex') };
}
