import { readFile } from 'node:fs/promises';

/** Highest resident set size seen of a process and of all its descendants, bytes (Linux /proc, proc_pid_status(5)). */
export interface MemoryWatch {
  /** Peak of the sum over the process and its descendants. */
  readonly peak: () => number;
  /** Every sample, in order. */
  readonly samples: readonly number[];
  /** Peak of the sum of proportional set sizes (proc_pid_smaps(5)): pages that processes share are counted once. Seen less often. */
  readonly proportionalPeak: () => number;
  stop(): void;
}

const sampleIntervalMs = 200;
const samplesPerProportion = 4;

export function watchMemory(pids: () => readonly number[]): MemoryWatch {
  const samples: number[] = [];
  let busy = false;
  let proportional = 0;
  const timer = setInterval(() => {
    if (busy) return;
    busy = true;
    const sizes = Promise.all(pids().map((pid) => sumOfTree(pid, residentBytes))).then((each) =>
      samples.push(Math.max(0, ...each)),
    );
    // The kernel walks every page for it.
    const proportions =
      samples.length % samplesPerProportion === 0
        ? Promise.all(pids().map((pid) => sumOfTree(pid, proportionalBytes))).then((each) => {
            proportional = Math.max(proportional, ...each);
          })
        : Promise.resolve();
    void Promise.all([sizes, proportions]).finally(() => {
      busy = false;
    });
  }, sampleIntervalMs);
  return {
    samples,
    peak: () => Math.max(0, ...samples),
    proportionalPeak: () => proportional,
    stop: () => clearInterval(timer),
  };
}

/** Sum over a process and its descendants; a process that ended meanwhile counts nothing. */
async function sumOfTree(pid: number, bytesOf: (pid: number) => Promise<number>): Promise<number> {
  const below = (await childrenOf(pid)).map((child) => sumOfTree(child, bytesOf));
  const [own, ...others] = await Promise.all([bytesOf(pid), ...below]);
  return others.reduce((sum, size) => sum + size, own);
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

async function proportionalBytes(pid: number): Promise<number> {
  const rollup = await readFile(`/proc/${String(pid)}/smaps_rollup`, 'utf8').catch(() => '');
  return Number(/^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1] ?? 0) * 1024;
}
