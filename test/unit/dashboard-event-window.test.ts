import { describe, expect, it } from 'vitest';

import {
  append,
  type EventWindow,
  growingFilter,
  type Placed,
  prepend,
} from '../../dashboard/src/pages/run/event-window.ts';

const events = (first: number, last: number): Placed[] =>
  Array.from({ length: last - first + 1 }, (_each, i) => ({ seq: String(first + i), cursor: `c${String(first + i)}` }));
const seqs = ({ events: held }: EventWindow<Placed>): number[] => held.map(({ seq }) => Number(seq));
const holes = (window: EventWindow<Placed>): number[] =>
  seqs(window).filter((seq, i, all) => i > 0 && seq !== (all[i - 1] as number) + 1);
const empty: EventWindow<Placed> = { events: [], hasEarlier: false, keptMax: 1_000 };

/** What the server has before an event. */
const pageBefore = (cursor: string, size: number) => {
  const end = Number(cursor.slice(1)) - 1;
  const first = Math.max(1, end - size + 1);
  return { before: cursor, events: events(first, end), hasEarlier: first > 1 };
};
const first = (window: EventWindow<Placed>): string => window.events[0]?.cursor ?? '';

describe('the events that a page holds', () => {
  it('have no hole when the oldest were let go and are loaded again', () => {
    let window = append(empty, events(1, 900));
    expect(window.hasEarlier).toBe(false);
    window = append(window, events(901, 1_500));
    expect([seqs(window)[0], window.events.length, window.hasEarlier]).toEqual([501, 1_000, true]);
    while (window.hasEarlier) window = prepend(window, pageBefore(first(window), 200));
    expect([seqs(window)[0], seqs(window).at(-1), holes(window)]).toEqual([1, 1_500, []]);
  });

  it('stay when they were loaded by hand and more come', () => {
    let window = append(empty, events(1, 1_500));
    window = prepend(window, pageBefore(first(window), 200));
    const before = window.events.length;
    window = append(window, events(1_501, 1_510));
    expect([window.events.length, holes(window), window.hasEarlier]).toEqual([before + 10, [], true]);
  });

  it('are let go many at a time, so that a filter seldom begins anew', () => {
    let window = append(empty, events(1, 1_000));
    const filter = growingFilter<Placed>();
    let looked = 0;
    for (let seq = 1_001; seq <= 2_000; seq += 5) {
      window = append(window, events(seq, seq + 4));
      expect(window.events.length).toBeLessThanOrEqual(1_100);
      filter(window.events, '', () => {
        looked += 1;
        return true;
      });
    }
    expect(holes(window)).toEqual([]);
    expect(looked).toBeLessThan(15_000);
  });

  it('take no page that was asked for before another first one', () => {
    const window = append(empty, events(1, 1_000));
    const asked = pageBefore(first(append(empty, events(301, 400))), 200);
    expect(prepend(window, asked)).toBe(window);
  });
});

describe('a filter of a list that grows', () => {
  it('looks at what is new alone, and shows what a whole filter would', () => {
    let looked = 0;
    const even = ({ seq }: Placed): boolean => {
      looked += 1;
      return Number(seq) % 2 === 0;
    };
    const filter = growingFilter<Placed>();
    let list: readonly Placed[] = events(1, 1_000);
    filter(list, 'even', even);
    looked = 0;
    list = [...list, ...events(1_001, 1_010)];
    expect(filter(list, 'even', even)).toEqual(list.filter(({ seq }) => Number(seq) % 2 === 0));
    expect(looked).toBe(10);
  });

  it('begins anew for another question, and for a list that begins elsewhere', () => {
    const filter = growingFilter<Placed>();
    const list = events(5, 20);
    const small = ({ seq }: Placed): boolean => Number(seq) < 10;
    expect(filter(list, 'small', small)).toHaveLength(5);
    expect(filter(list, 'all', () => true)).toHaveLength(16);
    expect(filter([...events(1, 4), ...list], 'all', () => true)).toHaveLength(20);
    expect(filter(list.slice(1), 'all', () => true)).toHaveLength(15);
  });
});
