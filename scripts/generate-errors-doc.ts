/** Writes docs/errors.md from the table of codes in src/errors.ts. */
import { writeFile } from 'node:fs/promises';

import { type ErrorClass, type ErrorCode, errorClasses, errorCodes } from '../src/errors.ts';

const classes: Record<ErrorClass, string> = {
  VALIDATION: 'The request cannot be carried out as it stands. Nothing has changed; correct it and ask again.',
  TRANSIENT:
    'It may succeed if tried again. Flux itself retries its own work; a client may repeat the request with the same `idempotencyKey`.',
  TERMINAL: 'It fails again however often it is tried, until somebody changes the cause.',
  DATA_ISOLATION:
    'The request reaches for another agency. The answer is the same whether that agency exists or not, and the attempt is audited.',
  CHECKPOINT: 'A stored position of a run cannot be trusted or used. Nothing resumes from it.',
  AUTHENTICATION: 'Flux does not know who asks.',
  AUTHORIZATION: 'Flux knows who asks, and the role does not allow it.',
};

export function errorsDocument(): string {
  const codes = Object.entries(errorCodes) as [ErrorCode, (typeof errorCodes)[ErrorCode]][];
  return [
    '<!-- Generated from src/errors.ts by scripts/generate-errors-doc.ts. Change that file, then run `npm run generate`. -->',
    '# Errors',
    '',
    'Every failure that Flux names has a class, which says what a caller can do, and a code, which says what happened. Codes',
    'are stable. In GraphQL an expected failure is a member of the result union that `implements Error`; any other arrives',
    'under `errors` with `extensions { code class errorId retryable }`. An `errorId` is also in the log.',
    ...errorClasses.flatMap((errorClass) => [
      '',
      `## ${errorClass}`,
      '',
      classes[errorClass],
      '',
      '| code | meaning |',
      '|---|---|',
      ...codes.filter(([, [own]]) => own === errorClass).map(([code, [, meaning]]) => `| \`${code}\` | ${meaning} |`),
    ]),
    '',
  ].join('\n');
}

if (import.meta.main) await writeFile(new URL('../docs/errors.md', import.meta.url), errorsDocument());
