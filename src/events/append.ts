import type { Queryable } from '../db/pool.ts';
import {
  type AppendedEvent,
  insertRunEvents,
  type NewRunEvent,
  type RunKey,
  type RunTransition,
} from '../db/run-events-append.ts';
import { finalRunStatuses, isEnding, isFinalStatus, type RunStatus } from '../db/run-vocabulary.ts';
import { FluxError } from '../errors.ts';
import { maskText, maskValue } from '../personal-data/mask.ts';

export type { AppendedEvent, NewRunEvent, RunKey, RunTransition } from '../db/run-events-append.ts';

/** Without a transition a run has to go on: once a cancel is requested nothing commits for it but its end. */
export const goingOn = ['PENDING', 'IN_PROGRESS'] as const satisfies readonly RunStatus[];

/**
 * Appends events to a run and, with `transition`, changes its state in the same statement. Sequence numbers are contiguous
 * and in commit order, because they are given under the run's row lock: call it last in the transaction. An ending event
 * goes with the transition that ends the run, alone or as the last of several; nothing can follow it.
 *
 * Personal data in messages and data are masked; who acts is named by `data.by`.
 *
 * @param events at least one
 * @returns the places that the events got, in order
 * @throws INVALID_TRANSITION the run is over, in another state than `transition.from`, or not this agency's; roll back
 */
export async function appendEvents(
  tx: Queryable,
  run: RunKey,
  events: readonly NewRunEvent[],
  transition?: RunTransition,
): Promise<AppendedEvent[]> {
  requireOneEnding(events, transition);
  const from = transition?.from ?? goingOn;
  const appended = await insertRunEvents(tx, run, events.map(maskEvent), from, maskTransition(transition));
  if (appended.length === events.length) return appended;
  const expected = (transition?.from ?? goingOn).join(' or ');
  throw new FluxError(
    'INVALID_TRANSITION',
    `Run ${run.runId} is not ${expected} any more, so ${events.map(({ name }) => name).join(', ')} cannot follow. Nothing was written.`,
    { details: { runId: run.runId } },
  );
}

/** An event as it is stored. */
export function maskEvent(event: NewRunEvent): NewRunEvent {
  const by = event.data?.['by'];
  const options = typeof by === 'string' ? { known: [by] } : {};
  return {
    ...event,
    message: maskText(event.message, options),
    ...(event.data ? { data: maskValue(event.data, options) } : {}),
  };
}

function maskTransition(transition: RunTransition | undefined): RunTransition | null {
  if (!transition?.failure) return transition ?? null;
  return { ...transition, failure: { ...transition.failure, message: maskText(transition.failure.message) } };
}

/** An ending event without its ending, or the reverse, would make a history that contradicts its run: our own mistake. */
export function requireOneEnding(events: readonly NewRunEvent[], transition: RunTransition | undefined): void {
  const endings = events.filter(({ name }) => isEnding(name));
  const last = events.at(-1);
  const final = transition !== undefined && isFinalStatus(transition.to);
  const fits = final ? endings.length === 1 && endings[0] === last : endings.length === 0;
  const complete = transition === undefined || (transition.finishes === true) === final;
  if (last !== undefined && fits && complete) return;
  throw new TypeError(
    `expected events that end exactly when the run does (${finalRunStatuses.join(', ')}), found ` +
      `[${events.map(({ name }) => name).join(', ')}] with ${transition?.to ?? 'no transition'}`,
  );
}
