import { expect, it } from 'vitest';

import { searchApart } from '../../simulation/search-apart.ts';

const seed = process.env.FLUX_SIMULATION_SEED;

/** The same in every run; new-schedules.test.ts has as many again that nobody has seen. */
it('keeps every invariant in the schedules of the seeds 1 to 50,000', { timeout: 300_000 }, async () => {
  const [from, count] = seed === undefined ? [1, 50_000] : [Number(seed), 1];
  const { failed, faults, schedules } = await searchApart(from, count);
  expect(failed).toBeNull();
  if (seed !== undefined) return;
  expect(schedules).toBe(50_000);
  // The schedules would be no proof if the faults did not happen.
  expect([...faults].filter(([, count]) => count < 1_000)).toEqual([]);
  expect(faults.size).toBe(11);
});
