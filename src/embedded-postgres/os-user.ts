import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

import { FluxError } from '../errors.ts';

const run = promisify(execFile);

/** Whom the server runs as. Postgres refuses to run as root, so root lends it another OS user. */
export interface OsUser {
  uid: number;
  gid: number;
}

/** The folder of what root keeps for that user when FLUX_HOME or the checkout is closed to it. */
export const sharedFolder = '/var/lib/flux-etl';

/**
 * The user that root lends to the server: the owner of the data folder if there is one, else `postgres`, created when it is
 * missing. Undefined for an ordinary user, who runs the server as itself.
 *
 * @throws UNAVAILABLE the user is missing and cannot be created
 */
export async function serverUser(dataFolder: string): Promise<OsUser | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const data = await stat(dataFolder).catch(() => undefined);
  if (data && data.uid !== 0) return { uid: data.uid, gid: data.gid };
  return (await lookUp('postgres')) ?? (await create('postgres'));
}

async function lookUp(name: string): Promise<OsUser | undefined> {
  try {
    const [uid, gid] = await Promise.all([run('id', ['-u', name]), run('id', ['-g', name])]);
    return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
  } catch {
    return undefined;
  }
}

async function create(name: string): Promise<OsUser> {
  let cause: unknown;
  try {
    await run('useradd', ['--system', '--user-group', '--no-create-home', '--shell', '/usr/sbin/nologin', name]);
  } catch (failure) {
    cause = failure;
  }
  // Another process may have created it at the same moment, which useradd reports as a failure.
  const user = await lookUp(name);
  if (user) return user;
  throw new FluxError(
    'UNAVAILABLE',
    `Postgres refuses to run as root, and the OS user ${name} is missing and could not be created. Create it (useradd --system ${name}), run Flux as an ordinary user, or set DATABASE_URL.`,
    { cause },
  );
}

/** Whether `user` may read and run (or pass through) `file`, by the mode bits of it and of every folder above. */
export async function isReachable(file: string, user: OsUser): Promise<boolean> {
  if (!(await allows(file, user, 0o5))) return false;
  return isTraversable(path.dirname(file), user);
}

/** Whether `user` may pass through `folder` and every folder above it. Folders that do not exist yet do not count. */
export async function isTraversable(folder: string, user: OsUser): Promise<boolean> {
  for (let at = folder; ; at = path.dirname(at)) {
    if (!(await allows(at, user, 0o1))) return false;
    if (at === path.dirname(at)) return true;
  }
}

async function allows(file: string, user: OsUser, bits: number): Promise<boolean> {
  const entry = await stat(file).catch(() => undefined);
  if (!entry) return true;
  const shift = entry.uid === user.uid ? 6 : entry.gid === user.gid ? 3 : 0;
  return ((entry.mode >> shift) & bits) === bits;
}
