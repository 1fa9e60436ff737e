import type { FluxError } from '../errors.ts';

/** How a taking ended, short of completion. */
export type Ending = { kind: 'drained'; yielded?: boolean } | { kind: 'failed'; error: FluxError };

export interface Takings {
  /** Takings since the last committed batch, this one included. */
  takings: number;
  takingsMax: number;
}

export type Decision =
  | { act: 'release' }
  | { act: 'yield' }
  | { act: 'stopBeside' }
  | { act: 'retry' | 'poison' | 'fail'; error: FluxError };

/**
 * What becomes of a partition that did not complete, as a rule without a database: settle() carries it out, and test/simulation
 * drives it through every order of events.
 *
 *   release     given back at once, and the taking does not count
 *   yield       given back at once, because others wait; the taking does not count
 *   retry       given back, to be taken again after a backing off
 *   poison      the run FAILS: it was taken too often without one committed batch
 *   fail        the run FAILS with the error
 *   stopBeside  the run does not go on for another reason (cancelled, failed elsewhere); only the partition ends
 */
export function decideEnding(ending: Ending, { takings, takingsMax }: Takings): Decision {
  if (ending.kind === 'drained') return { act: ending.yielded === true ? 'yield' : 'release' };
  const { error } = ending;
  if (error.code === 'INVALID_TRANSITION') return { act: 'stopBeside' };
  if (!error.retryable) return { act: 'fail', error };
  return { act: takings < takingsMax ? 'retry' : 'poison', error };
}

/** Whether a partition has been taken so often that it is not even begun again: its workers ended without a word. */
export function isPoison({ takings, takingsMax }: Takings): boolean {
  return takings > takingsMax;
}
