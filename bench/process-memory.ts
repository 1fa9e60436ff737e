import { readFile } from 'node:fs/promises';

/** Highest resident set size seen of a process and of all its descendants, bytes (Linux /proc, proc_pid_status(5)). */
export interface MemoryWatch {
  /** Peak of the sum over the process and its descendants. */
  readonly peak: () => number;
  /** Every sample, in order. */
  readonly samples: readonly number[];
  stop(): void;
}

const sampleIntervalMs = 200;

export function watchMemory(pids: () => readonly number[]): MemoryWatch {
  const samples: number[] = [];
  let busy = false;
  const timer = setInterval(() => {
    if (busy) return;
    busy = true;
    void Promise.all(pids().map(residentBytesOfTree))
      .then((sizes) => samples.push(Math.max(0, ...sizes)))
      .finally(() => {
        busy = false;
      });
  }, sampleIntervalMs);
  return { samples, peak: () => Math.max(0, ...samples), stop: () => clearInterval(timer) };
}

/** Sum over a process and its descendants; a process that ended meanwhile counts nothing. */
async function residentBytesOfTree(pid: number): Promise<number> {
  const [own, ...below] = await Promise.all([residentBytes(pid), ...(await childrenOf(pid)).map(residentBytesOfTree)]);
  return below.reduce((sum, size) => sum + size, own);
}

/** Asked of the kernel directly: walking all of /proc would compete with what is measured. */
async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${String(pid)}/task/${String(pid)}/children`, 'utf8').catch(() => '');
  return text.split(' ').filter(Boolean).map(Number);
}

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${String(pid)}/status`, 'utf8').catch(() => '');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}
