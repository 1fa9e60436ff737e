import type { RequestContext } from '../src/auth/request-context.ts';

/** A field that was refused, for the audit log. */
export interface Denial {
  /** `Mutation.startRun` */
  field: string;
  /** The scopes that would have been enough: outer list or, inner list and. */
  required: readonly (readonly string[])[];
}

/** What every resolver gets: the caller, and what main.ts composed for the API. */
export interface Context extends RequestContext {
  /** Told of each refusal before the caller is; a refusal that cannot be recorded stays a refusal. */
  onDenied?(denial: Denial): Promise<void>;
}
