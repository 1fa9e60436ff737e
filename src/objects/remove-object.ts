import { rm, stat } from 'node:fs/promises';

import type { ObjectStore } from './file-store.ts';

/**
 * Removes an object for good. One that was stored, or stored again, lately is left: somebody is about to name it.
 *
 * @returns whether it is gone
 */
export async function removeObject(
  { pathOf }: Pick<ObjectStore, 'pathOf'>,
  address: string,
  { unusedForMs }: { unusedForMs: number },
): Promise<boolean> {
  const path = pathOf(address);
  const found = await stat(path).catch((cause: unknown) => {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw cause;
  });
  if (found === null) return true;
  if (Date.now() - found.mtimeMs < unusedForMs) return false;
  await rm(path, { force: true });
  return true;
}
