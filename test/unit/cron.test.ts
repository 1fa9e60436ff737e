import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { datesOf } from '../../src/domain/backfills.ts';
import { cronClock, localDate } from '../../src/domain/cron.ts';
import { chosen } from '../../src/domain/fire-schedule.ts';
import { datedSource, withDate } from '../../src/domain/source-date.ts';

const newYork = 'America/New_York';
const ticks = (cron: string, zone: string, from: string, count: number): string[] => {
  const clock = cronClock(cron, zone);
  const found: string[] = [];
  for (let at = new Date(from); found.length < count;) {
    at = clock.after(at);
    found.push(at.toISOString().slice(0, 16));
  }
  return found;
};

describe('a cron in a time zone', () => {
  it('keeps its local time when the clocks change', () => {
    expect(ticks('0 9 * * *', newYork, '2026-03-06T20:00:00Z', 3)).toEqual([
      '2026-03-07T14:00',
      '2026-03-08T13:00',
      '2026-03-09T13:00',
    ]);
  });

  it('comes at the end of the gap where its local time is skipped', () => {
    expect(ticks('30 2 * * *', newYork, '2026-03-07T12:00:00Z', 2)).toEqual(['2026-03-08T07:00', '2026-03-09T06:30']);
  });

  it('comes once, at the first of two, where its local time happens twice', () => {
    expect(ticks('30 1 * * *', newYork, '2026-10-31T12:00:00Z', 2)).toEqual(['2026-11-01T05:30', '2026-11-02T06:30']);
  });

  it('goes on through both hours, and over the gap, where it comes every half hour', () => {
    expect(ticks('*/30 * * * *', newYork, '2026-11-01T04:40:00Z', 5)).toEqual([
      '2026-11-01T05:00',
      '2026-11-01T05:30',
      '2026-11-01T06:00',
      '2026-11-01T06:30',
      '2026-11-01T07:00',
    ]);
    expect(ticks('*/30 * * * *', newYork, '2026-03-08T06:10:00Z', 3)).toEqual([
      '2026-03-08T06:30',
      '2026-03-08T07:00',
      '2026-03-08T07:30',
    ]);
  });

  it('names the local date', () => {
    expect(localDate(new Date('2026-03-08T03:30:00Z'), newYork)).toBe('2026-03-07');
    expect(localDate(new Date('2026-03-08T03:30:00Z'), 'UTC')).toBe('2026-03-08');
  });

  it.each([
    ['* * * * * *', 'UTC', 'five fields'],
    ['@daily', 'UTC', 'five fields'],
    ['', 'UTC', 'five fields'],
    ['61 * * * *', 'UTC', 'not valid'],
    ['a b c d e', 'UTC', 'not valid'],
    ['0 0 30 2 *', 'UTC', 'never happens'],
    ['0 0 * * *', 'Mars/Olympus', 'does not exist'],
    [`0 0 * * ${'1,'.repeat(60)}1`, 'UTC', 'five fields'],
  ])('is refused when it is "%s" in %s', (cron, zone, message) => {
    expect(() => cronClock(cron, zone)).toThrow(
      expect.objectContaining({ code: 'INVALID_INPUT', message: expect.stringContaining(message) as string }),
    );
  });

  it('gives the same ticks however the time is cut: none twice, none left out', () => {
    const clock = cronClock('*/20 * * * *', newYork);
    const start = Date.parse('2026-10-31T00:00:00Z');
    const hours = 72;
    const whole = clock.between(new Date(start), new Date(start + hours * 3_600_000), 1_000).ticks;
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: hours * 3_600 - 1 }), { maxLength: 12 }), (cuts) => {
        const found: Date[] = [];
        let from = whole[0] as Date;
        for (const cut of [...new Set(cuts)].sort((a, b) => a - b)) {
          const now = new Date(start + cut * 1_000);
          if (now < from) continue;
          found.push(...clock.between(from, now, 1_000).ticks);
          from = clock.after(now);
        }
        found.push(...clock.between(from, new Date(start + hours * 3_600_000), 1_000).ticks);
        expect(found).toEqual(whole);
      }),
      { numRuns: 15 },
    );
  });

  it('gives the newest of more ticks than are asked for, and says so', () => {
    const clock = cronClock('* * * * *', 'UTC');
    const { ticks: newest, complete } = clock.between(
      new Date('2026-01-01T00:00:00Z'),
      new Date('2026-01-02T00:00:30Z'),
      5,
    );
    expect(complete).toBe(false);
    expect(newest.map((at) => at.toISOString().slice(11, 16))).toEqual(['23:56', '23:57', '23:58', '23:59', '00:00']);
  });
});

describe('missed ticks', () => {
  const now = new Date('2026-05-01T12:00:30Z');
  const at = (time: string): Date => new Date(`2026-05-01T${time}:00Z`);
  const due = { ticks: [at('08:00'), at('09:00'), at('10:00'), at('11:00'), at('12:00')], complete: true };
  const became = (catchUp: 'NONE' | 'LATEST' | 'ALL', catchUpLimit = 10) =>
    chosen({ catchUp, catchUpLimit }, due, now).map(({ tickAt, skip, standsFor }) => [
      tickAt.toISOString().slice(11, 16),
      skip ?? 'start',
      standsFor,
    ]);

  it('are skipped as one, while the tick that is on time starts', () => {
    expect(became('NONE')).toEqual([
      ['11:00', 'MISSED', 4],
      ['12:00', 'start', 1],
    ]);
  });
  it('are made up for by the newest', () => {
    expect(became('LATEST')).toEqual([
      ['10:00', 'CATCH_UP_LIMIT', 3],
      ['11:00', 'start', 1],
      ['12:00', 'start', 1],
    ]);
  });
  it('are made up for up to the limit', () => {
    expect(became('ALL').map(([, what]) => what)).toEqual(['start', 'start', 'start', 'start', 'start']);
    expect(became('ALL', 2)).toEqual([
      ['09:00', 'CATCH_UP_LIMIT', 2],
      ['10:00', 'start', 1],
      ['11:00', 'start', 1],
      ['12:00', 'start', 1],
    ]);
  });
});

describe('a date in a source', () => {
  it('is put in by name, and other braces are left alone', () => {
    expect(withDate('in/{year}/{month}/{day}/flights-{date}{x}{}.csv', '2026-03-07')).toBe(
      'in/2026/03/07/flights-2026-03-07{x}{}.csv',
    );
    expect(datedSource(null, 'plain.csv', {})).toBeNull();
    expect(datedSource('asked.csv', 'plain-{date}.csv', {})).toBe('asked.csv');
    expect(datedSource(null, 'plain-{date}.csv', { date: '2024-02-29' })).toBe('plain-2024-02-29.csv');
  });
  it.each([[undefined], ['2026-02-30'], ['yesterday'], [20260307], ['2026-3-7'], ['../../etc']])(
    'is refused when it is %s',
    (date) => {
      expect(() => datedSource(null, '{date}.csv', { date })).toThrow(
        expect.objectContaining({ code: 'INVALID_INPUT' }),
      );
    },
  );
});

describe('the dates of a range', () => {
  it('are every day, or the first of each month, over a leap day', () => {
    expect(datesOf({ firstDate: '2024-02-28', lastDate: '2024-03-01', step: null })).toEqual([
      '2024-02-28',
      '2024-02-29',
      '2024-03-01',
    ]);
    expect(datesOf({ firstDate: '2025-12-15', lastDate: '2026-02-01', step: 'MONTH' })).toEqual([
      '2026-01-01',
      '2026-02-01',
    ]);
  });
  it.each([
    ['2026-02-02', '2026-02-01', null],
    ['2026-02-30', '2026-03-01', null],
    ['1900-01-01', '2026-01-01', null],
    ['2026-01-02', '2026-01-31', 'MONTH' as const],
  ])('are refused from %s to %s', (firstDate, lastDate, step) => {
    expect(() => datesOf({ firstDate, lastDate, step })).toThrow(expect.objectContaining({ code: 'INVALID_INPUT' }));
  });
});
