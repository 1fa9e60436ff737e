import { describe, expect, it } from 'vitest';

import {
  emptyWindow,
  type ListPage,
  type Placed,
  type RunWindow,
  withChanges,
  withFirst,
  withNext,
} from '../../dashboard/src/pages/run-window.ts';

const run = (n: number, version = 1): Placed => ({
  id: `id ${String(n)}`,
  runId: String(n).padStart(8, '0'),
  version: String(version),
});
const shown = ({ runs }: RunWindow<Placed>): number[] => runs.map(({ runId }) => Number(runId));
const from = (last: number, first: number): number[] => Array.from({ length: last - first + 1 }, (_, i) => last - i);
/** A page of runs down to one, as the API gives it; there are runs down to number 1. */
const page = (last: number, first: number): ListPage<Placed> => ({
  edges: from(last, first).map((n) => ({ node: run(n), cursor: `after ${String(n)}` })),
  pageInfo: { hasNextPage: first > 1, endCursor: `after ${String(first)}` },
});
const news = (...runs: Placed[]) => runs.map((one) => ({ run: one, matches: true }));
const opened = withFirst(emptyWindow<Placed>(), page(1_000, 951));

describe('the runs that a page holds', () => {
  it('take in new ones and changes, and leave older ones to the page they are on', () => {
    const window = withChanges(opened, news(run(1_001), run(980, 2), run(12), run(950)));
    expect(shown(window)).toEqual(from(1_001, 951));
    expect(window.runs[21]).toEqual(run(980, 2));
    expect(shown(withNext(window, page(950, 901)))).toEqual(from(1_001, 901));
  });

  it('take in every run once the list has been read to its end', () => {
    const whole = withFirst(emptyWindow<Placed>(), page(20, 1));
    expect(whole.next).toBeNull();
    expect(shown(withChanges(whole, news(run(0))))).toEqual(from(20, 0));
  });

  it('never go back to an older state, and let go what fits no more', () => {
    const window = withChanges(withChanges(opened, news(run(1_000, 3))), news(run(1_000, 2)));
    expect(window.runs[0]).toEqual(run(1_000, 3));
    expect(shown(withChanges(window, [{ run: run(1_000, 4), matches: false }]))).toEqual(from(999, 951));
    expect(shown(withFirst(window, page(1_000, 951)))).toEqual(from(1_000, 951));
  });

  it('begin anew where so many came meanwhile that none of the newest was held', () => {
    const again = withFirst(withNext(opened, page(950, 901)), page(2_000, 1_951));
    expect(shown(again)).toEqual(from(2_000, 1_951));
    expect(again.next).toBe('after 1951');
    expect(shown(withFirst(opened, page(1_010, 961)))).toEqual(from(1_010, 951));
  });

  it('do not grow all day: the oldest go, and the list goes on after the last that is left', () => {
    let window = withNext(opened, page(950, 901));
    for (let n = 1_001; n <= 1_250; n += 1) window = withChanges(window, news(run(n)));
    expect(window.runs.length).toBeLessThanOrEqual(300);
    const last = shown(window).at(-1) ?? 0;
    expect(shown(window)).toEqual(from(1_250, last));
    expect(window.next).toBe(`after ${String(last)}`);
    expect(shown(withNext(window, page(last - 1, last - 50)))).toEqual(from(1_250, last - 50));
  });

  it('go on growing where no place is known to go on from, until the newest are read again', () => {
    let window = withChanges(opened, news(...from(1_400, 1_001).map((n) => run(n))));
    expect(shown(window)).toEqual(from(1_400, 951));
    window = withFirst(window, page(1_400, 1_351));
    expect(shown(window)).toEqual(from(1_400, 1_351));
    expect(window.next).toBe('after 1351');
  });
});
