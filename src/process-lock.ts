import { execFile } from 'node:child_process';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';

import { randomHex } from './crypto/random.ts';

/**
 * A file that says which process holds something. The operating system reuses process numbers, so the file names the
 * holder's start too: the file of a process that is gone, also after a reboot or a new container, holds nothing.
 */
export interface ProcessLock {
  release(): Promise<void>;
}

interface Holder {
  pid: number;
  startedAt: string;
}

/** Takes the lock, or says which live process holds it. */
export async function acquireProcessLock(file: string): Promise<ProcessLock | { heldBy: number }> {
  const own: Holder = { pid: process.pid, startedAt: (await startOf(process.pid)) ?? '' };
  const draft = `${file}.${randomHex(6)}`;
  await writeFile(draft, JSON.stringify(own), { mode: 0o600 });
  try {
    for (;;) {
      // A link appears whole or not at all, and fails when the name is taken.
      if (await link(draft, file).then(() => true, isTaken)) return { release: () => releaseOwn(file, own) };
      const holder = await readHolder(file);
      if (holder && (await isAlive(holder))) return { heldBy: holder.pid };
      await discardStale(file, holder);
    }
  } finally {
    await rm(draft, { force: true });
  }
}

/** The pid in the lock file if that very process lives, undefined otherwise. */
export async function lockHolder(file: string): Promise<number | undefined> {
  const holder = await readHolder(file);
  return holder && (await isAlive(holder)) ? holder.pid : undefined;
}

function isTaken(cause: unknown): false {
  if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false;
  throw cause;
}

/** Moves a dead holder's file away. Somebody quicker may have taken the lock meanwhile: then theirs is put back. */
async function discardStale(file: string, stale: Holder | undefined): Promise<void> {
  const aside = `${file}.${randomHex(6)}`;
  try {
    await rename(file, aside);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw cause;
  }
  const moved = await readHolder(aside);
  const isStale = moved?.pid === stale?.pid && moved?.startedAt === stale?.startedAt;
  if (!isStale) await link(aside, file).catch(() => undefined);
  await rm(aside, { force: true });
}

async function releaseOwn(file: string, own: Holder): Promise<void> {
  const holder = await readHolder(file);
  if (holder?.pid === own.pid && holder.startedAt === own.startedAt) await rm(file, { force: true });
}

async function readHolder(file: string): Promise<Holder | undefined> {
  try {
    const { pid, startedAt } = JSON.parse(await readFile(file, 'utf8')) as Partial<Holder>;
    return typeof pid === 'number' && typeof startedAt === 'string' ? { pid, startedAt } : undefined;
  } catch {
    return undefined;
  }
}

async function isAlive(holder: Holder): Promise<boolean> {
  return (await startOf(holder.pid)) === holder.startedAt;
}

/** When a process began, in the system's own words; undefined when there is none of that number. */
async function startOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${String(pid)}/stat`, 'utf8').catch(() => undefined);
  // Field 22 of proc(5); the second field holds the program's name, which may contain anything up to the last bracket.
  if (stat !== undefined) return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  if (process.platform === 'linux') return undefined;
  const { stdout } = await promisify(execFile)('ps', ['-o', 'lstart=', '-p', String(pid)]).catch(() => ({
    stdout: '',
  }));
  return stdout.trim() || undefined;
}
