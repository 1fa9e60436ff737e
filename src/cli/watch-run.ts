import { setTimeout as delay } from 'node:timers/promises';

import { isFluxError } from '../errors.ts';
import type { ApiClient } from './client.ts';
import { note, print } from './output.ts';
import { stopSignal } from './stop-signal.ts';

const runEvents = /* GraphQL */ `
  subscription CliRunEvents($run: ID!, $after: String) {
    runEvents(runId: $run, after: $after) {
      __typename
      ... on RunEvent {
        seq
        at
        name
        stage
        step
        attempt
        message
        cursor
      }
      ... on StreamGap {
        fromSeq
        toSeq
        reason
        cursor
      }
      ... on StreamEnd {
        status
        attempt
        lastSeq
        cursor
      }
    }
  }
`;

interface Item {
  __typename: string;
  cursor: string;
  at?: string;
  name?: string;
  message?: string;
  reason?: string;
  status?: string;
}

export interface WatchOptions {
  runId: string;
  /** Go on after this event; null begins with the first. */
  after: string | null;
  /** One JSON object a line instead of sentences. */
  json: boolean;
  signal: AbortSignal;
}

const reconnectWaitsMs = [250, 500, 1_000, 2_000, 4_000, 8_000];

/**
 * Prints a run's events in order, each once, also over broken connections: it goes on after the last cursor it saw.
 *
 * @returns the run's status at its end, or undefined when `signal` aborted first
 */
export async function watchRun(
  api: ApiClient,
  { runId, after, json, signal }: WatchOptions,
): Promise<string | undefined> {
  let cursor = after;
  let failures = 0;
  while (!signal.aborted) {
    try {
      const items = api.subscribe<{ runEvents: Item }>(runEvents, { run: runId, after: cursor }, signal);
      for await (const { runEvents: item } of items) {
        failures = 0;
        cursor = item.cursor;
        printItem(item, json);
        if (item.__typename === 'StreamEnd') return item.status;
      }
    } catch (cause) {
      const waitMs = reconnectWaitsMs[failures];
      if (!isFluxError(cause, 'UNAVAILABLE') || waitMs === undefined) throw cause;
      failures += 1;
      note('The connection broke; going on where it was.');
      await delay(waitMs, undefined, { signal }).catch(() => undefined);
    }
  }
  return undefined;
}

/** Follows a run until it ends or somebody stops the command. Sets the exit code: 1 unless it completed. */
export async function watchToEnd(
  api: ApiClient,
  runId: string,
  options: { json?: boolean; after?: string },
): Promise<void> {
  const status = await watchRun(api, {
    runId,
    after: options.after ?? null,
    json: options.json === true,
    signal: stopSignal(),
  });
  if (status !== undefined) process.exitCode = status === 'COMPLETED' ? 0 : 1;
}

function printItem(item: Item, json: boolean): void {
  if (json) print(JSON.stringify(item));
  else if (item.__typename === 'StreamEnd') print(`The run is over: ${item.status ?? ''}.`);
  else if (item.__typename === 'StreamGap') note(`Some events are missing here: ${item.reason ?? ''}`);
  else print(`${item.at ?? ''}  ${(item.name ?? '').padEnd(18)}  ${item.message ?? ''}`);
}
