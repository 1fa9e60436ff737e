import { readFileSync, writeFileSync } from 'node:fs';

import { it as test } from 'vitest';

/** The time that the whole suite has in CI, all its files together, from the moment when the first of them is loaded. */
export const suiteMs = 300_000;

/**
 * The files of the suite run one after the other, each in a process of its own; vitest.config.ts names a file of its run, in which the
 * first of them writes when it began.
 */
function startedAt(): number {
  const file = process.env.FLUX_CHAOS_CLOCK;
  if (file === undefined) return Date.now();
  try {
    writeFileSync(file, String(Date.now()), { flag: 'wx' });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
  }
  return Number(readFileSync(file, 'utf8'));
}

const until = startedAt() + suiteMs;

/** What the suite's end cuts off: it was not shown, so it counts as failed. */
export class OutOfTime extends Error {}

/**
 * Does the work in what is left of the suite's time.
 *
 * @throws OutOfTime nothing is left, so it was not begun; or its end came first, and it goes on unheard until its file ends
 */
export async function inTime<T>(name: string, work: () => Promise<T>, end = until): Promise<T> {
  const left = end - Date.now();
  const bound = `the chaos suite has ${String(suiteMs / 1_000)} s in all`;
  if (left <= 0) throw new OutOfTime(`not run: ${bound}, and they were over before "${name}" began`);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new OutOfTime(`stopped after ${(left / 1_000).toFixed(0)} s: ${bound}, and "${name}" was not done`)),
      left,
    );
  });
  const working = work();
  working.catch(() => undefined);
  try {
    return await Promise.race([working, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A test of the suite; its own time is the suite's. */
export function it(name: string, work: () => Promise<void>): void {
  // Vitest's own bound is above ours, so that it is ours that says what was not run.
  test(name, { timeout: suiteMs + 30_000 }, () => inTime(name, work));
}
