import { setTimeout as pause } from 'node:timers/promises';

import type { ConnectionState, RunEventItem, RunProgress } from '#sdk';
import { type ApiClient, named } from './client.ts';
import { createScreen, type RunLine } from './demo/screen.ts';
import { note, print } from './output.ts';
import { stopSignal } from './stop-signal.ts';

export interface WatchOptions {
  runId: string;
  /** Go on after this event; null begins with the first. */
  after: string | null;
  signal: AbortSignal;
  view: RunView;
}

/** How a watched run is shown. */
export interface RunView {
  event(item: RunEventItem): void;
  progress(progress: RunProgress): void;
  /** The last thing that is called. */
  close(): void;
}

/** For so long a command waits for an API that is away. */
const patienceMs = 16_000;
const lastSnapshotMs = 2_000;

/**
 * Shows a run's events in order, each once, also over broken connections, and its progress beside them.
 *
 * @returns the run's status at its end, or undefined when `signal` aborted first
 * @throws UNAVAILABLE the API was away for too long; what it answers
 */
export async function watchRun(
  { url, flux }: ApiClient,
  { runId, after, signal, view }: WatchOptions,
): Promise<string | undefined> {
  const over = new AbortController();
  const ended = AbortSignal.any([signal, over.signal]);
  const showProgress = async (): Promise<void> => {
    for await (const progress of flux.runs.progress(runId, { maxPerSecond: 2, signal: ended })) view.progress(progress);
  };
  const showEvents = async (): Promise<string | undefined> => {
    const onConnection = sayBroken();
    for await (const item of flux.runs.watch(runId, { after, signal, onConnection, giveUpAfterMs: patienceMs })) {
      // The last snapshot stands before the last line, and none after it.
      if (item.__typename === 'StreamEnd')
        await Promise.race([progress, pause(lastSnapshotMs, undefined, { ref: false })]);
      if (item.__typename === 'StreamEnd') over.abort();
      view.event(item);
      if (item.__typename === 'StreamEnd') return item.status;
    }
    return undefined;
  };
  // The events say what is wrong.
  const progress = showProgress().catch(() => undefined);
  try {
    return await named(url, showEvents);
  } finally {
    over.abort();
    view.close();
  }
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
    signal: stopSignal(),
    view: options.json !== true && process.stdout.isTTY ? terminalView() : jsonView(),
  });
  if (status !== undefined) process.exitCode = status === 'COMPLETED' ? 0 : 1;
}

function sayBroken(): (state: ConnectionState) => void {
  let wasLive = false;
  return ({ status }) => {
    if (status === 'reconnecting' && wasLive) note('The connection broke; going on where it was.');
    wasLive ||= status === 'live';
  };
}

/** One JSON object a line, for programs: events as the API has them, and snapshots between them. */
function jsonView(): RunView {
  return {
    event: (item) => print(JSON.stringify(item)),
    progress: (progress) => print(JSON.stringify({ __typename: 'RunProgress', ...progress })),
    close: () => undefined,
  };
}

/** Sentences, and below them a bar. */
function terminalView(): RunView {
  const screen = createScreen(process.stdout);
  let drawn = false;
  const say = (text: string): void => (drawn ? screen.note(text) : print(text));
  return {
    event(item) {
      if (item.__typename === 'StreamEnd') say(`The run is over: ${item.status}.`);
      else if (item.__typename === 'StreamGap') say(`Some events are missing here: ${item.reason}`);
      else say(`${item.at}  ${item.name.padEnd(18)}  ${item.message}`);
    },
    progress(progress) {
      drawn = true;
      screen.update('run', lineOf(progress));
    },
    close() {
      if (drawn) screen.close();
    },
  };
}

const states: Record<RunProgress['status'], RunLine['state']> = {
  PENDING: 'waiting',
  IN_PROGRESS: 'running',
  CANCELLING: 'running',
  COMPLETED: 'completed',
  FAILED: 'failed',
  CANCELLED: 'failed',
};

/** A snapshot as the screen draws it. */
export function lineOf(
  progress: RunProgress,
  run: { agency: string; pipeline: string } = { agency: '', pipeline: '' },
): RunLine {
  return {
    ...run,
    state: states[progress.status],
    stage: progress.stage,
    recordsRead: BigInt(progress.recordsRead),
    fraction: progress.fraction,
    ratePerSecond: progress.ratePerSecond,
    etaAt: progress.etaAt === null ? null : new Date(progress.etaAt),
  };
}
