import { FluxError } from '../errors.ts';
import type { Caller } from './caller.ts';

/**
 * The agency comes from the token alone. What an input says of it may only repeat it: another slug, existing or invented, gets
 * one and the same answer, which repeats nothing of it.
 *
 * @throws DATA_ISOLATION
 */
export function requireOwnAgency({ principal }: Caller, named: unknown): void {
  if (typeof named !== 'string' || named === principal.agency) return; // what is no slug at all is left to the validator
  throw new FluxError(
    'DATA_ISOLATION',
    `The input names an agency that is not yours. Your token is of ${principal.agency}; name that agency or none.`,
  );
}
