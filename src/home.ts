import { chmod, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';

import { randomHex } from './crypto/random.ts';
import { FluxError } from './errors.ts';

/** What lies where in FLUX_HOME. */
export function homePaths(home: string) {
  return {
    lock: path.join(home, 'lock'),
    /** What runs now: written by the supervisor, read by the commands that look for it. */
    run: path.join(home, 'run.json'),
    keys: path.join(home, 'keys'),
    issuer: path.join(home, 'issuer'),
    objects: path.join(home, 'objects'),
    /** Of what is in a bucket. */
    objectCopies: path.join(home, 'object-copies'),
    auditAnchor: path.join(home, 'audit-anchor'),
    logs: path.join(home, 'logs'),
    postgres: path.join(home, 'postgres'),
  };
}

/**
 * Creates FLUX_HOME if it is missing. Others may pass through it, because an embedded Postgres started by root works as
 * another OS user below it; what is secret inside is 0600 or in a 0700 folder of its own.
 */
export async function ensureHome(home: string): Promise<void> {
  await ensureFolder(home, 0o711);
}

/** Creates a folder with exactly this mode; one that exists keeps its own. @throws CONFIG_INVALID it cannot be created */
export async function ensureFolder(folder: string, mode: number): Promise<void> {
  const present = await stat(folder).catch(() => undefined);
  if (present?.isDirectory()) return;
  try {
    await mkdir(folder, { recursive: true });
    // mkdir's own mode passes through the umask.
    await chmod(folder, mode);
  } catch (cause) {
    throw new FluxError(
      'CONFIG_INVALID',
      `Cannot create the folder ${folder} (${reason(cause)}). Set FLUX_HOME to a folder that this user may write.`,
      { cause },
    );
  }
}

/** Writes a file that only its owner may read, so that a reader sees the old or the new content, never half of it. */
export async function writeSecret(file: string, content: string | Buffer): Promise<void> {
  const draft = `${file}.${randomHex(6)}`;
  try {
    const handle = await open(draft, 'wx', 0o600);
    try {
      await handle.writeFile(content);
      await handle.sync();
      // What root writes into another user's FLUX_HOME must stay readable to that user.
      if (process.getuid?.() === 0) {
        const { uid, gid } = await stat(path.dirname(file));
        await handle.chown(uid, gid);
      }
    } finally {
      await handle.close();
    }
    await rename(draft, file);
  } catch (cause) {
    await rm(draft, { force: true });
    throw new FluxError('CONFIG_INVALID', `Cannot write ${file} (${reason(cause)}). Check who owns FLUX_HOME.`, {
      cause,
    });
  }
}

/** The parsed content of a JSON file, undefined when there is no such file. @throws CONFIG_INVALID unreadable or not JSON */
export async function readJson(file: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new FluxError('CONFIG_INVALID', `Cannot read ${file} (${reason(cause)}). Check who owns FLUX_HOME.`, {
      cause,
    });
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new FluxError(
      'CONFIG_INVALID',
      `${file} should be JSON and is not. Restore it from a backup or remove FLUX_HOME.`,
      { cause },
    );
  }
}

function reason(cause: unknown): string {
  return cause instanceof Error ? ((cause as NodeJS.ErrnoException).code ?? cause.message) : String(cause);
}
