import { readdir, readFile } from 'node:fs/promises';

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
async function residentBytesOfTree(root: number): Promise<number> {
  const parents = await parentOf();
  const tree = new Set([root]);
  for (let grown = true; grown; ) {
    const before = tree.size;
    for (const [pid, parent] of parents) if (tree.has(parent)) tree.add(pid);
    grown = tree.size > before;
  }
  const sizes = await Promise.all([...tree].map(residentBytes));
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function parentOf(): Promise<Map<number, number>> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const pairs = await Promise.all(pids.map(async (pid) => [pid, Number(await field(pid, 'PPid'))] as const));
  return new Map(pairs);
}

async function residentBytes(pid: number): Promise<number> {
  return Number((await field(pid, 'VmRSS')).replace(' kB', '')) * 1024;
}

async function field(pid: number, name: string): Promise<string> {
  const status = await readFile(`/proc/${String(pid)}/status`, 'utf8').catch(() => '');
  return new RegExp(`^${name}:\\s+(.*)$`, 'm').exec(status)?.[1] ?? '0';
}
