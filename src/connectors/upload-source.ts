import { runningSha256 } from '../crypto/hash.ts';
import type { ObjectStore } from '../objects/object-store.ts';
import { readObject } from '../objects/read-object.ts';
import { corrupted } from '../objects/sealed-file.ts';
import { invalidSource } from './refusals.ts';
import type { SourceConnector, UploadedFile } from './source.ts';

/** Files that the agency has sent to the API, each by its name: the newest complete one, verified as a whole. */
export function createUploadSource(objects: Pick<ObjectStore, 'pathOf' | 'sealOf'>): SourceConnector {
  return {
    async open({ connection, source, uploaded = null, known, signal }) {
      if (uploaded === null) {
        throw invalidSource(
          `There is no complete upload "${source.path}" for connection "${connection.name}". Send it (PUT /v1/uploads/${source.path}), then start a new run.`,
        );
      }
      const origin = `upload://${uploaded.name}`;
      const before = (await known?.(origin)) ?? null;
      if (before?.etag === uploaded.sha256) return { origin, unchanged: true };
      return { origin, modifiedAt: null, etag: uploaded.sha256, bytes: read(uploaded, objects, signal) };
    },
  };
}

async function* read(
  { name, parts, keyOf, sha256 }: UploadedFile,
  objects: Pick<ObjectStore, 'pathOf' | 'sealOf'>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const hash = runningSha256();
  for (const part of parts) {
    for await (const piece of readObject(objects, part, keyOf)) {
      signal.throwIfAborted();
      hash.update(piece);
      yield piece;
    }
  }
  if (hash.digest().toString('hex') !== sha256) throw corrupted(`the parts of upload ${name} are not what was sent`);
}
