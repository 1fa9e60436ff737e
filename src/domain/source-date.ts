import { FluxError } from '../errors.ts';

/**
 * How a date reaches a run: `{date}` (2026-03-07), `{year}`, `{month}` and `{day}` in the source's path stand for the date that
 * the run is for. Other braces are left alone: they may be a part of a file's name.
 */
const placeholder = /\{(date|year|month|day)\}/g;

export function asksForDate(source: string): boolean {
  return source.search(placeholder) >= 0;
}

/** @param date `YYYY-MM-DD` */
export function withDate(source: string, date: string): string {
  const [year = '', month = '', day = ''] = date.split('-');
  const values: Record<string, string> = { date, year, month, day };
  return source.replace(placeholder, (whole, name: string) => values[name] ?? whole);
}

/** @throws INVALID_INPUT it is no date of the calendar, as `YYYY-MM-DD` */
export function requireDate(text: unknown, name: string): string {
  if (typeof text === 'string' && /^\d{4}-\d{2}-\d{2}$/.test(text)) {
    const at = new Date(`${text}T00:00:00Z`);
    if (!Number.isNaN(at.getTime()) && at.toISOString().startsWith(text) && text >= '0001-01-01') return text;
  }
  throw new FluxError('INVALID_INPUT', `${name} should be a date such as 2026-03-07.`, {
    details: { issues: [{ path: `/${name}`, rule: 'date', message: 'expected YYYY-MM-DD of the calendar' }] },
  });
}

/**
 * The source that a run reads in place of the pipeline's own path: with its date put in where it asks for one.
 *
 * @param asked what the request names; null for the pipeline's own path
 * @param own the pipeline's path
 * @returns null where the pipeline's own path is what it is
 * @throws INVALID_INPUT a date is needed and `metadata.date` is none
 */
export function datedSource(
  asked: string | null,
  own: string,
  metadata: Readonly<Record<string, unknown>>,
): string | null {
  const template = asked ?? own;
  if (!asksForDate(template)) return asked;
  if (metadata['date'] === undefined || metadata['date'] === null) {
    throw new FluxError(
      'INVALID_INPUT',
      `The source ${template} needs the date that the run is for. Pass metadata.date, such as "2026-03-07".`,
      {
        details: {
          issues: [{ path: '/metadata/date', rule: 'required', message: 'is required by the source’s path' }],
        },
      },
    );
  }
  return withDate(template, requireDate(metadata['date'], 'metadata/date'));
}
