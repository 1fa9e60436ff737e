import type { builder } from './builder.ts';
import { AuthorizationError, DataIsolationError, TransientError, ValidationError } from './errors.ts';

/** The failures that every mutation can expect. */
export const mutationErrors = [ValidationError, AuthorizationError, DataIsolationError, TransientError] as const;

type ArgBuilder = typeof builder extends { queryField(name: string, define: (t: infer T) => unknown): unknown }
  ? T extends { arg: infer Arg }
    ? Arg
    : never
  : never;

/** The arguments of every list. */
export function pageArgs(arg: ArgBuilder) {
  return {
    first: arg.int({ description: 'How many, 1 to 200; 50 if absent.' }),
    after: arg.string({ description: 'Start after this cursor.' }),
    last: arg.int({ description: 'How many before `before`, or from the end, 1 to 200; not together with `first`.' }),
    before: arg.string({ description: 'End before this cursor; not together with `after`.' }),
  };
}

export const reasonDescription = 'Why; kept in the audit log. At most 2000 characters.';
export const idempotencyKeyDescription =
  'Makes a repeated request safe: the same key with the same input gives the first result again for seven days, with another input IDEMPOTENCY_CONFLICT. 1 to 255 characters.';
