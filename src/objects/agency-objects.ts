import { createReadStream } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { FluxError } from '../errors.ts';
import { type DataKey, type ObjectStore, readSealed, type StoredObject } from './file-store.ts';

/** All objects of an agency, for who removes or re-encrypts them. */
export function agencyObjects(folder: string, store: ObjectStore) {
  return {
    async *addresses(agency: string): AsyncGenerator<string, void, undefined> {
      const shelves = await readdir(join(folder, agency), { withFileTypes: true }).catch(() => []);
      for (const shelf of shelves.filter((entry) => entry.isDirectory())) {
        for (const digest of await readdir(join(folder, agency, shelf.name))) {
          if (/^[0-9a-f]{64}$/.test(digest)) yield `${agency}/${digest}`;
        }
      }
    },
    async tryOpen(address: string, keyOf: (version: number) => Promise<DataKey>): Promise<'plain' | 'opened'> {
      const seal = await store.sealOf(address, keyOf);
      if (seal === null) return 'plain';
      for await (const _piece of readSealed(store.pathOf(address), seal)) break;
      return 'opened';
    },
    /**
     * Stores an object's content once more, under another key. The old one stays as it is.
     *
     * @throws OBJECT_CORRUPTED it does not verify, or has another content than `sha256` says
     * @throws KEY_UNAVAILABLE, SOURCE_UNAVAILABLE
     */
    async reseal(
      { address, sha256 }: { address: string; sha256: string },
      { keyOf, to }: { keyOf: (version: number) => Promise<DataKey>; to: DataKey },
    ): Promise<StoredObject> {
      const [agency = ''] = address.split('/');
      const seal = await store.sealOf(address, keyOf);
      const path = store.pathOf(address);
      const stored = await store.put(agency, seal ? readSealed(path, seal) : createReadStream(path), to);
      if (stored.sha256 === sha256) return stored;
      await rm(store.pathOf(stored.address), { force: true });
      throw new FluxError(
        'OBJECT_CORRUPTED',
        `The object ${address} holds another content than its run pinned. Restore it from a backup.`,
      );
    },
    async remove(address: string): Promise<void> {
      await rm(store.pathOf(address), { force: true });
    },
  };
}
