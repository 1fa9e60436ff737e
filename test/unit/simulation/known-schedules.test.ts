import { expect, it } from 'vitest';

import { report, search } from '../../simulation/search.ts';

const seed = process.env.FLUX_SIMULATION_SEED;

/** The same in every run; new-schedules.test.ts has as many again that nobody has seen. */
it('keeps every invariant in the schedules of the seeds 1 to 50,000', { timeout: 300_000 }, () => {
  const { failed, faults, schedules } = seed === undefined ? search(1, 50_000) : search(Number(seed), 1);
  expect(failed === null ? null : report(failed)).toBeNull();
  if (seed !== undefined) return;
  expect(schedules).toBe(50_000);
  // The schedules would be no proof if the faults did not happen.
  expect([...faults].filter(([, count]) => count < 1_000)).toEqual([]);
  expect(faults.size).toBe(11);
});
