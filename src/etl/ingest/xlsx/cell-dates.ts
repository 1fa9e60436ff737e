/** How a number's style shows it: a date, a time of day, both; null: as a number. */
export type DateStyle = 'date' | 'time' | 'date-time' | null;

/** Styles without a code of their own (ECMA-376 part 1, 18.8.30), with those of East Asian locales. */
const builtIn: ReadonlyMap<number, DateStyle> = new Map<number, DateStyle>([
  ...[14, 15, 16, 17, 27, 28, 29, 30, 31, 34, 35, 36, 50, 51, 52, 53, 54, 55, 56, 57, 58].map(
    (id) => [id, 'date'] as const,
  ),
  ...[18, 19, 20, 21, 32, 33, 45, 47].map((id) => [id, 'time'] as const),
  [22, 'date-time'],
]);

/**
 * @param code a number format as the workbook writes it; undefined where the id says everything
 * @returns what it makes of a number. Elapsed time (`[h]:mm`) is a number: no time of day says 30 hours.
 */
export function dateStyleOf(formatId: number, code: string | undefined): DateStyle {
  if (code === undefined) return builtIn.get(formatId) ?? null;
  const [first = ''] = code.split(';');
  const shown = first.replace(/"[^"]*"?|\\.|[_*]./g, '');
  if (/\[(?:h+|m+|s+)\]/i.test(shown)) return null;
  const letters = shown
    .replace(/\[[^\]]*\]/g, '')
    .replace(/General/gi, '')
    .replace(/AM\/PM|A\/P/gi, 'h')
    .toLowerCase();
  const hasTime = /[hs]/.test(letters);
  // A lone m is a month; beside hours or seconds it is minutes.
  const hasDate = /[yd]/.test(letters) || (!hasTime && /m/.test(letters));
  if (hasDate && hasTime) return 'date-time';
  return hasDate ? 'date' : hasTime ? 'time' : null;
}

const dayMs = 86_400_000;
/** The day after 9999-12-31. */
const serialEnd = 2_958_466;

/**
 * A date's serial number as text: `YYYY-MM-DD`, `YYYY-MM-DDTHH:MM:SS` (with milliseconds where there are some), or `HH:MM:SS`.
 *
 * @param wanted the contract wants date and time, so that midnight is said
 * @returns null: no such day. Day 60 of the 1900 system is 29 February 1900, which never was; 0 is none.
 */
export function serialText(
  serial: number,
  style: Exclude<DateStyle, null>,
  { from1904, wantsTime }: { from1904: boolean; wantsTime: boolean },
): string | null {
  if (!Number.isFinite(serial) || serial < 0 || serial >= serialEnd) return null;
  const milliseconds = Math.round(serial * dayMs);
  const day = Math.floor(milliseconds / dayMs);
  const rest = milliseconds - day * dayMs;
  const time = new Date(rest).toISOString().slice(11, rest % 1000 === 0 ? 19 : 23);
  if (style === 'time' && day === 0) return time;
  if (!from1904 && (day === 0 || day === 60)) return null;
  const base = from1904 ? Date.UTC(1904, 0, 1) : Date.UTC(1899, 11, day < 60 ? 31 : 30);
  const at = new Date(base + day * dayMs);
  if (at.getUTCFullYear() > 9999) return null;
  const date = at.toISOString().slice(0, 10);
  return rest === 0 && !wantsTime ? date : `${date}T${time}`;
}
