import type { Ajv } from 'ajv';
import addFormats, { type FormatName } from 'ajv-formats';

/**
 * How dates and times are written, as the SQL compiler and Ajv must both read them (full match; the calendar is checked
 * besides). Three deviations from RFC 3339, each because no Postgres type could hold the value unchanged: no leap second, no
 * year 0000, nothing finer than a microsecond. A date-time needs its offset; local-date-time must not have one.
 */
export const timePatterns = {
  date: '[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])',
  'local-date-time':
    '[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6}0*)?',
  'date-time':
    '[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6}0*)?' +
    '([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])',
} as const;
export type TimeFormat = keyof typeof timePatterns;

/** Every format that a contract may name, each one checked. */
export const contractFormats = [
  ...(['date', 'date-time', 'local-date-time'] as const),
  ...([
    'time',
    'duration',
    'email',
    'hostname',
    'ipv4',
    'ipv6',
    'uri',
    'uri-reference',
    'uuid',
    'json-pointer',
  ] as const),
] as const;

/** A CommonJS module: its function carries itself as `default`, which is the form that the compiler knows too. */
const plugin = addFormats.default;

export function installFormats(ajv: Ajv): void {
  const own = new Set<string>(Object.keys(timePatterns));
  const borrowed = contractFormats.filter((name) => !own.has(name)) as FormatName[];
  plugin(ajv, { formats: borrowed, mode: 'full', keywords: false });
  for (const [name, pattern] of Object.entries(timePatterns)) {
    const written = new RegExp(`^(?:${pattern})$`, 'u');
    ajv.addFormat(name, {
      type: 'string',
      validate: (text: string) => written.test(text) && isCalendarDay(text.slice(0, 10)),
    });
  }
}

/** True for a day that exists, year 1 to 9999; the text is already known to look like `2001-02-29`. */
function isCalendarDay(text: string): boolean {
  const [year, month, day] = text.split('-').map(Number) as [number, number, number];
  if (year === 0) return false;
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
  return day <= (days[month - 1] ?? 0);
}
