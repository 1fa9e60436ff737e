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

/** What is begun in time may take this long beyond the suite's end on a machine that is busy with other things. */
const graceMs = 120_000;

/** The suite's time was over before it began. It was not shown: it counts as skipped, by name. */
export class NotRun extends Error {}

/** It was begun and did not come to its end. */
export class Stopped extends Error {}

/**
 * Does the work if the suite has time left, and then gives it more than that.
 *
 * @throws NotRun nothing is left
 * @throws Stopped the grace is over too; the work goes on unheard until its file ends
 */
export async function inTime<T>(name: string, work: () => Promise<T>, end = until): Promise<T> {
  const bound = `the chaos suite has ${String(suiteMs / 1_000)} s in all`;
  const begun = Date.now();
  if (begun >= end) throw new NotRun(`not run: ${bound}, and they were over before "${name}" began`);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const ms = end + graceMs - begun;
    const stopped = `stopped after ${(ms / 1_000).toFixed(0)} s: ${bound} and a grace of ${String(graceMs / 1_000)} s, and "${name}" was not done`;
    timer = setTimeout(() => reject(new Stopped(stopped)), ms);
  });
  const working = work();
  working.catch(() => undefined);
  try {
    return await Promise.race([working, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Vitest's own bound is above ours, so that it is ours that says what was not done. */
export const vitestMs = suiteMs + graceMs + 30_000;

/** A test of the suite; its own time is the suite's. */
export function it(name: string, work: () => Promise<void>): void {
  test(name, { timeout: vitestMs }, async (context) => {
    try {
      await inTime(name, work);
    } catch (cause) {
      if (cause instanceof NotRun) context.skip(cause.message);
      throw cause;
    }
  });
}
