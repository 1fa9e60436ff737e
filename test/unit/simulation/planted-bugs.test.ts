import { expect, it } from 'vitest';

import { plantedBugs } from '../../simulation/bugs.ts';
import { search } from '../../simulation/search.ts';
import { simulate } from '../../simulation/simulate.ts';

/** A simulation that notices nothing proves nothing: each of these is in its own storage or worker, none in the product. */
it.each(plantedBugs)('notices when %s', { timeout: 120_000 }, (bug) => {
  const { failed, schedules } = search(1, 60_000, bug);
  expect(failed?.violations ?? [], `nothing noticed in ${String(schedules)} schedules`).not.toEqual([]);
});

it('has ten of them', () => {
  expect(new Set(plantedBugs).size).toBe(10);
});

it('does the same again for the same seed', () => {
  const once = simulate(7);
  const again = simulate(7);
  expect(again.history()).toEqual(once.history());
  expect(again.steps).toBe(once.steps);
  expect(simulate(8).history()).not.toEqual(once.history());
});
