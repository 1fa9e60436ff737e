import { setTimeout as delay } from 'node:timers/promises';

import { FluxError, retryPromise, toFluxError } from '../errors.ts';

/** A restart of the embedded server takes 0.1 to 0.5 s, and its recovery a few seconds more. */
const triesMax = 3;
const waitMs = 2_000;
/** A step that was silent for this long has waited enough by itself. */
const patienceMs = 30_000;

/**
 * Runs the steps of a start. The embedded Postgres may be killed on the way; it is started again beside us, so a step that
 * failed because it did not answer is tried again a few times.
 *
 * @throws what the step threw; UNAVAILABLE that says to start again when the server did not stay up
 */
export function startPatiently(signal: AbortSignal | undefined): <T>(step: () => Promise<T>) => Promise<T> {
  const startedAt = performance.now();
  return async (step) => {
    for (let tries = 1; ; tries += 1) {
      try {
        return await step();
      } catch (cause) {
        const error = toFluxError(cause);
        if (error.code !== 'UNAVAILABLE') throw cause;
        if (tries === triesMax || performance.now() - startedAt > patienceMs) throw gaveUp(error);
        await delay(waitMs, undefined, signal ? { signal } : {});
      }
    }
  };
}

/** What is tried again by itself once Flux is up ends here, and the message must not promise otherwise. */
function gaveUp(error: FluxError): FluxError {
  const said = error.message.replace(` ${retryPromise}`, '');
  return new FluxError(
    'UNAVAILABLE',
    `${said} Flux was starting and has given up; what it did stands. Start it again.`,
    {
      details: error.details,
      cause: error,
    },
  );
}
