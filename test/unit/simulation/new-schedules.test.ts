import { randomInt } from 'node:crypto';

import { expect, it } from 'vitest';

import { searchApart } from '../../simulation/search-apart.ts';

const given = process.env.FLUX_SIMULATION_SEED;

it('keeps every invariant in 50,000 schedules of seeds drawn anew each time', { timeout: 300_000 }, async () => {
  const from = given === undefined ? randomInt(1_000_000, 2 ** 31) : Number(given);
  const { failed, endings } = await searchApart(from, given === undefined ? 50_000 : 1);
  expect(failed).toBeNull();
  if (given === undefined) expect(endings.get('COMPLETED')).toBeGreaterThan(40_000);
});
