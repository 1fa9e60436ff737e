import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { type DataKey, type ObjectStore, readSealed } from './file-store.ts';

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
    async remove(address: string): Promise<void> {
      await rm(store.pathOf(address), { force: true });
    },
  };
}
