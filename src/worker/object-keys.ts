import type { DataKey } from '../keys/key-ring.ts';
import type { Work } from './work.ts';

/** Finds the keys of the agency's sealed objects, as the agency's own login. @returns undefined where this worker has none */
export function objectKeys({ deps, holder, claim }: Work): ((version: number) => Promise<DataKey>) | undefined {
  const { keys } = deps;
  return keys && ((version) => keys.ofVersion(holder, claim.agencyId, 'objects', version));
}

/** The agency's newest key for objects; null where the installation does not seal. */
export async function newestObjectKey({ deps, holder, claim }: Work): Promise<DataKey | null> {
  return deps.keys?.seals ? deps.keys.newest(holder, claim.agencyId, 'objects') : null;
}
