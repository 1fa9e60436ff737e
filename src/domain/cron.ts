import { Cron } from 'croner';

import { FluxError } from '../errors.ts';

/** When ticks are due: five cron fields, read in a time zone. */
export interface CronClock {
  /** The first tick after an instant. */
  after(at: Date): Date;
  /** Ticks from an instant on (inclusive) up to another (inclusive), oldest first; of more than `limit` the newest. */
  between(from: Date, until: Date, limit: number): { ticks: Date[]; complete: boolean };
}

/**
 * Daylight saving time: a tick whose local time is skipped comes at the end of the gap (02:30 at 03:00); one whose local time
 * happens twice comes at the first of the two; ticks that come every few minutes or hours go on through both hours.
 *
 * @throws INVALID_INPUT it does not parse, never happens, or the time zone does not exist
 */
export function cronClock(cron: string, timeZone: string): CronClock {
  requireTimeZone(timeZone);
  const parsed = parse(cron, timeZone);
  const next = (at: Date): Date => {
    const tick = parsed.nextRun(at);
    if (!tick) throw refused('/cron', `The cron expression "${cron}" has no tick after ${at.toISOString()}.`);
    return tick;
  };
  return {
    after: next,
    between(from, until, limit) {
      const ticks: Date[] = [];
      // croner looks strictly after the second that it is given.
      for (let tick = next(new Date(from.getTime() - 1_000)); tick <= until; tick = next(tick)) {
        ticks.push(tick);
        if (ticks.length > limit) break;
      }
      if (ticks.length <= limit) return { ticks, complete: true };
      const start = parsed.previousRuns(limit, new Date(until.getTime() + 1_000)).at(-1) ?? from;
      const newest: Date[] = [];
      for (let tick = next(new Date(start.getTime() - 1_000)); tick <= until; tick = next(tick)) newest.push(tick);
      return { ticks: newest.slice(-limit), complete: false };
    },
  };
}

function parse(cron: string, timeZone: string): Cron {
  const fields = cron.trim().split(/\s+/);
  if (cron.length > 100 || fields.length !== 5) {
    throw refused(
      '/cron',
      `cron should be five fields (minute hour day month weekday), and "${cron.slice(0, 100)}" is not.`,
    );
  }
  try {
    const parsed = new Cron(cron.trim(), { timezone: timeZone, paused: true });
    if (parsed.nextRun()) return parsed;
  } catch (cause) {
    throw refused('/cron', `The cron expression "${cron}" is not valid: ${(cause as Error).message}`);
  }
  throw refused('/cron', `The cron expression "${cron}" never happens.`);
}

function requireTimeZone(timeZone: string): void {
  try {
    new Intl.DateTimeFormat('en-US', { timeZone });
  } catch {
    throw refused(
      '/timeZone',
      `The time zone "${timeZone.slice(0, 100)}" does not exist. Name one such as America/New_York or UTC.`,
    );
  }
}

function refused(path: string, message: string): FluxError {
  return new FluxError('INVALID_INPUT', message, { details: { issues: [{ path, rule: 'schedule', message }] } });
}

/** The date of an instant in a time zone, `YYYY-MM-DD`. */
export function localDate(at: Date, timeZone: string): string {
  return new Intl.DateTimeFormat('en-CA', { timeZone, year: 'numeric', month: '2-digit', day: '2-digit' }).format(at);
}
