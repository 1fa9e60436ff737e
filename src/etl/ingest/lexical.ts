import { timePatterns, type TimeFormat } from '../../contracts/formats.ts';
import { ident, literal } from '../duckdb/sql-text.ts';

/**
 * How a value of each type is written in text, and how it is read. A pattern stands before every cast, because a cast alone
 * guesses: DuckDB reads '1.5' as the integer 2, '0x1F' as 31, '1_000' as 1000, 'epoch' as a date, and drops a time zone.
 */
export interface Written {
  duckType: string;
  /** RE2, matched against the whole text. */
  pattern: string;
  /** For people: "an integer". */
  expected: string;
  /** Prepares text for the cast. */
  prepare?: (text: string) => string;
}

const signed = '[+-]?';
/** Postgres and DuckDB keep microseconds; more digits could not be kept. */
const exactFraction = (pattern: string): string => pattern.replace('([.][0-9]+)?', '([.][0-9]{1,6}0*)?');

export const writtenInteger: Written = {
  duckType: 'bigint',
  pattern: `${signed}[0-9]+([.]0+)?`,
  expected: 'an integer of at most 64 bits',
};
export const writtenNumber: Written = {
  duckType: 'double',
  pattern: `${signed}([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?`,
  expected: 'a number',
};
export const writtenNumeric: Written = {
  duckType: 'decimal(38,10)',
  pattern: `${signed}([0-9]+([.][0-9]{0,10}0*)?|[.][0-9]{1,10}0*)`,
  expected: 'a decimal number of at most 28 digits before and 10 after the point',
};
export const writtenBoolean: Written = {
  duckType: 'boolean',
  pattern: 'true|false|TRUE|FALSE|True|False',
  expected: 'true or false',
};
export const writtenTimes: Record<TimeFormat, Written> = {
  date: { duckType: 'date', pattern: timePatterns.date, expected: 'a date (YYYY-MM-DD) that exists' },
  'date-time': {
    duckType: 'timestamptz',
    pattern: exactFraction(timePatterns['date-time']),
    expected: 'a date and time with its offset (RFC 3339), to the microsecond',
    prepare: (text) => `upper(${text})`,
  },
  'local-date-time': {
    duckType: 'timestamp',
    pattern: exactFraction(timePatterns['local-date-time']),
    expected: 'a date and time without offset (YYYY-MM-DDTHH:MM:SS), to the microsecond',
    prepare: (text) => `upper(${text})`,
  },
};

/** SQL that reads the text as the type; null where it is not written so. */
export function readWritten(text: string, written: Written): string {
  const prepared = written.prepare?.(text) ?? text;
  const value = `try_cast(${prepared} as ${written.duckType})`;
  const matches = `regexp_full_match(${text}, ${literal(written.pattern)})`;
  // Year 0000 reads as 1 BC, which no contract's date can mean.
  const guard =
    written.duckType === 'date' || written.duckType.startsWith('timestamp')
      ? ` and not starts_with(${text}, '0000')`
      : '';
  // '1e400' reads as infinity.
  if (written.duckType === 'double') return `case when ${matches} and isfinite(${value}) then ${value} end`;
  return `case when ${matches}${guard} then ${value} end`;
}

export function isTimeFormat(format: string | undefined): format is TimeFormat {
  return format !== undefined && Object.hasOwn(timePatterns, format);
}

/** Names that DuckDB sees; the prefix keeps them apart from every column of a record. */
export const cell = (index: number): string => ident(`_flux_c${index}`);
export const typed = (index: number): string => ident(`_flux_t${index}`);
