import { rm } from 'node:fs/promises';

import { homePaths, readJson, writeSecret } from '../home.ts';
import { lockHolder } from '../process-lock.ts';

/** What runs on a FLUX_HOME now, for the commands that look for it. Holds a password: 0600. */
export interface RunFile {
  /** The supervisor. */
  pid: number;
  adminUrl: string;
  apiUrl: string;
  workers: { id: string; pid: number }[];
  /** Where Prometheus finds the API and each worker: one machine cannot give them all the same port. */
  metricsUrls?: string[];
}

export async function writeRunFile(home: string, run: RunFile): Promise<void> {
  await writeSecret(homePaths(home).run, `${JSON.stringify(run, null, 2)}\n`);
}

/** Undefined when nothing runs; the file of a supervisor that was killed does not count. */
export async function readRunFile(home: string): Promise<RunFile | undefined> {
  const { run, lock } = homePaths(home);
  const file = (await readJson(run)) as RunFile | undefined;
  return file && (await lockHolder(lock)) === file.pid ? file : undefined;
}

export async function removeRunFile(home: string): Promise<void> {
  await rm(homePaths(home).run, { force: true });
}
