import { type ErrorClass, type FluxError, retryPromise, toFluxError } from '../errors.ts';

/** The one place that prints. What a command was asked for goes to standard output, everything else to standard error. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, (_key, item: unknown) => (typeof item === 'bigint' ? item.toString() : item), 2));
}

export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Columns as wide as their widest cell; the last one runs free. */
export function printTable(header: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = header.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i]?.length ?? 0)));
  for (const row of [header, ...rows]) {
    print(
      row
        .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0)))
        .join('  ')
        .trimEnd(),
    );
  }
}

/** Exit codes: 0 done, 1 the thing failed or does not hold, 2 usage, 3 not authorized, 4 unavailable. */
const exitCodes: Record<ErrorClass, number> = {
  VALIDATION: 1,
  TRANSIENT: 4,
  TERMINAL: 1,
  DATA_ISOLATION: 3,
  CHECKPOINT: 1,
  AUTHENTICATION: 3,
  AUTHORIZATION: 3,
};

/** Says what failed and with which code the process should end. */
export function printFailure(cause: unknown, json: boolean): number {
  const error = toFluxError(cause);
  // Flux itself repeats no command; what keeps a service running starts it anew.
  const message = error.message.replace(retryPromise, 'Give the command again.');
  if (json) note(JSON.stringify({ error: { class: error.class, code: error.code, message, ...error.details } }));
  else note(`${error.code}: ${message}${detailLines(error)}`);
  return exitCodes[error.class];
}

function detailLines({ message, details }: FluxError): string {
  const issues = (details.issues ?? []).map(({ path, message: text }) => `${path || '/'} ${text}`);
  const lines = [...issues, ...(details.candidates ?? [])].filter((line) => !message.includes(line));
  return lines.map((line) => `\n  ${line}`).join('');
}
