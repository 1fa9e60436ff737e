import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { logTicks } from '../../dashboard/src/components/log-ticks.ts';

describe('the lines of a logarithmic axis', () => {
  it('are round, and two or more where the axis covers that much', () => {
    expect(logTicks(1_700, 17_000)).toEqual([2_000, 5_000, 10_000]);
    expect(logTicks(900, 90_000)).toEqual([1_000, 3_000, 10_000, 30_000]);
    expect(logTicks(50, 90_000_000)).toEqual([100, 10_000, 1_000_000]);
  });

  it('are on the axis, in order, and never more than four', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e9 }), fc.integer({ min: 1, max: 1e9 }), (a, b) => {
        const [from, to] = [Math.min(a, b), Math.max(a, b)];
        const ticks = logTicks(from, to);
        expect(ticks.length).toBeLessThanOrEqual(4);
        expect(ticks).toEqual(ticks.toSorted((x, y) => x - y));
        expect(ticks.every((ms) => ms >= from && ms <= to)).toBe(true);
        if (to >= from * 10) expect(ticks.length).toBeGreaterThan(0);
      }),
    );
  });
});
