import { mkdir, readdir, rm } from 'node:fs/promises';
import path from 'node:path';

import { randomHex } from './crypto/random.ts';
import { FluxError } from './errors.ts';
import { acquireProcessLock, lockHolder } from './process-lock.ts';

/** A folder below the workers' root that one process has to itself. */
export interface OwnWorkFolder {
  readonly folder: string;
  /** Removes it with all that is in it. */
  remove(): Promise<void>;
}

const lockSuffix = '.lock';

/**
 * Makes this process a folder (0700) for the plaintext of its steps, and removes what processes that are gone left below the same
 * root: a worker that was killed cannot, and its partitions may go on at another machine. Folders of live processes stay.
 *
 * @throws UNAVAILABLE nothing can be written there
 */
export async function ownWorkFolder(root: string): Promise<OwnWorkFolder> {
  try {
    return await makeOwn(root);
  } catch (cause) {
    throw new FluxError(
      'UNAVAILABLE',
      `The worker cannot make a folder below ${root} (${(cause as Error).message}). Make room, or correct its owner.`,
      { cause },
    );
  }
}

async function makeOwn(root: string): Promise<OwnWorkFolder> {
  await mkdir(root, { recursive: true, mode: 0o700 });
  await removeAbandoned(root);
  const folder = path.join(root, `${String(process.pid)}-${randomHex(4)}`);
  // The lock comes first: a folder without one belongs to nobody.
  const lock = await acquireProcessLock(`${folder}${lockSuffix}`);
  await mkdir(folder, { mode: 0o700 });
  return {
    folder,
    async remove() {
      await rm(folder, { recursive: true, force: true });
      if ('release' in lock) await lock.release();
    },
  };
}

async function removeAbandoned(root: string): Promise<void> {
  const entries = await readdir(root, { withFileTypes: true });
  for (const entry of entries.filter((one) => one.isDirectory())) {
    const folder = path.join(root, entry.name);
    const lock = `${folder}${lockSuffix}`;
    if ((await lockHolder(lock)) !== undefined) continue;
    await rm(folder, { recursive: true, force: true });
    await rm(lock, { force: true });
  }
}
