import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** The kernel's unit of process times (sysconf(_SC_CLK_TCK)), which is 100 on every Linux that Node runs on. */
const ticksPerSecond = 100;

/**
 * CPU seconds of a process, of its living descendants and of those that it has waited for (proc_pid_stat(5)): of a postmaster every
 * session that ever was, of a worker every DuckDB child.
 */
export function cpuSecondsOfTree(pid: number): number {
  const own = cpuTimes(pid).reduce((sum, seconds) => sum + seconds, 0);
  const children = read(`/proc/${String(pid)}/task/${String(pid)}/children`)
    .split(' ')
    .filter(Boolean);
  return children.reduce((sum, child) => sum + cpuSecondsOfTree(Number(child)), own);
}

/** CPU seconds of the programs that this process has run to their end. */
export function cpuSecondsOfWaited(): number {
  const [, , user = 0, system = 0] = cpuTimes(process.pid);
  return user + system;
}

const restMs = 500;
const restShareMin = 0.9;
const restDeadlineMs = 20_000;

/**
 * Resolves when the machine's processors were idle for half a second, but for a tenth; after 20 s in any case. What was measured before leaves work
 * behind (pages to write, tables to vacuum, a child to start), which would count against what is measured next.
 */
export async function machineAtRest(): Promise<void> {
  const deadline = performance.now() + restDeadlineMs;
  for (let before = machineTimes(); performance.now() < deadline;) {
    await delay(restMs);
    const now = machineTimes();
    if (now.idle - before.idle >= restShareMin * (now.all - before.all)) return;
    before = now;
  }
}

/** Ticks of all processors together (proc_stat(5)). */
function machineTimes(): { idle: number; all: number } {
  const ticks = read('/proc/stat').split('\n', 1)[0]?.trim().split(/\s+/).slice(1, 9).map(Number) ?? [];
  return { idle: ticks[3] ?? 0, all: ticks.reduce((sum, each) => sum + each, 0) };
}

/** User and system time, and both of the children that were waited for. */
function cpuTimes(pid: number): number[] {
  const stat = read(`/proc/${String(pid)}/stat`);
  // The name in parentheses may hold blanks; the times are the 14th to 17th fields.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).map((ticks) => Number(ticks) / ticksPerSecond);
}

/** A process that ended meanwhile is counted by the one that waited for it. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
