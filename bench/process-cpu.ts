import { readFileSync } from 'node:fs';

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
