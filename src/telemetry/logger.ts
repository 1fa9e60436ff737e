import { trace } from '@opentelemetry/api';
import { type DestinationStream, pino } from 'pino';

import { maskText } from '../personal-data/mask.ts';

type Write = (fields: object, message: string) => void;

/** One JSON object a line: timestamp, level, message, service, trace_id and span_id where there are any, and fields. */
export interface Logger {
  debug: Write;
  info: Write;
  warn: Write;
  error: Write;
  fatal: Write;
  /** A logger whose every line carries these fields too. */
  child(fields: object): Logger;
}

export interface LoggerOptions {
  /** Which process speaks: api, worker, supervisor. */
  service: string;
  level: 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent';
  /** Standard error if absent: standard output belongs to what a command prints. */
  destination?: DestinationStream;
}

export function createLogger({ service, level, destination }: LoggerOptions): Logger {
  const sink = pino(
    {
      level,
      base: { service },
      messageKey: 'message',
      timestamp: () => `,"timestamp":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination ?? pino.destination(2),
  );
  const bound = (own: object): Logger => {
    const write =
      (name: Exclude<keyof Logger, 'child'>): Write =>
      (fields, message) => {
        if (sink.isLevelEnabled(name)) sink[name](toLine({ ...own, ...fields }), clean(message));
      };
    return {
      debug: write('debug'),
      info: write('info'),
      warn: write('warn'),
      error: write('error'),
      fatal: write('fatal'),
      child: (fields) => bound({ ...own, ...fields }),
    };
  };
  return bound({});
}

/** The trace of the fields (a request's own) wins over that of the active span. */
function toLine(given: Record<string, unknown>): object {
  const { traceId, spanId, ...rest } = given;
  const span = trace.getActiveSpan()?.spanContext();
  return {
    trace_id: traceId ?? span?.traceId,
    span_id: spanId ?? span?.spanId,
    fields: Object.keys(rest).length > 0 ? printable(rest, 0) : undefined,
  };
}

/** `apiKey`, `x-api-key` and `API_KEY` alike; `key` alone names columns and is none. */
const secretName =
  /authorization|cookie|passw(or)?d|passphrase|secret|credential|token$|(api|access|audit|context|data|encryption|private|seal|shared|signing|storage)[-_. ]?key$/i;
const depthMax = 6;

/** A value as a log may hold it: no secrets, no cycles without end, bigints as text. */
function printable(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return clean(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  if (depth >= depthMax) return '[deeper]';
  if (value instanceof Error) return printableError(value, depth);
  if (Buffer.isBuffer(value)) return `[${String(value.length)} bytes]`;
  if (Array.isArray(value)) return value.map((item) => printable(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      clean(key),
      secretName.test(key) ? '[redacted]' : printable(item, depth + 1),
    ]),
  );
}

/** The driver's errors also carry `detail` and `where`, which can hold a row's values; they stay out. */
function printableError(error: Error & { code?: unknown; errorId?: unknown }, depth: number): object {
  return {
    type: error.name,
    message: clean(error.message),
    code: error.code,
    errorId: error.errorId,
    stack: error.stack === undefined ? undefined : clean(error.stack),
    cause: error.cause === undefined ? undefined : printable(error.cause, depth + 1),
  };
}

/** A text as a log may hold it: without passwords, and with personal data masked. */
function clean(text: string): string {
  return maskText(hidePasswords(text));
}

/** `postgres://user:password@host` without the password. */
function hidePasswords(text: string): string {
  return text.replaceAll(/(\b[a-z][a-z0-9+.-]*:\/\/[^\s:/@]*):[^\s@/]+@/gi, '$1:***@');
}
