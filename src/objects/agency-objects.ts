import { createReadStream } from 'node:fs';

import { FluxError } from '../errors.ts';
import type { DataKey, ObjectStore, StoredObject } from './object-store.ts';
import { readSealed } from './sealed-file.ts';

/** All objects of an agency, for who removes or re-encrypts them. */
export function agencyObjects(store: ObjectStore) {
  return {
    addresses: (agency: string) => store.addresses(agency),
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
      await store.remove(stored.address, { unusedForMs: 0 });
      throw new FluxError(
        'OBJECT_CORRUPTED',
        `The object ${address} holds another content than its run pinned. Restore it from a backup.`,
      );
    },
    async remove(address: string): Promise<void> {
      await store.remove(address, { unusedForMs: 0 });
    },
  };
}
