import type { ApiClient } from '../client.ts';
import type { RunLine, Screen } from './screen.ts';

/** A run of the demo, as it was started. */
export interface DemoRun {
  id: string;
  agency: string;
  pipeline: string;
}

/** What the demo learns from a run's event stream. */
export interface WatchedEvent {
  seq: string;
  name: string;
  data: Record<string, unknown> | null;
}

interface Progress {
  stage: string;
  status: string;
  recordsRead: string;
  fraction: number | null;
  ratePerSecond: number | null;
  etaAt: string | null;
}

const progressDocument = /* GraphQL */ `
  subscription DemoProgress($run: ID!) {
    runProgress(runId: $run, maxPerSecond: 5) {
      stage
      status
      recordsRead
      fraction
      ratePerSecond
      etaAt
    }
  }
`;

const eventsDocument = /* GraphQL */ `
  subscription DemoEvents($run: ID!) {
    runEvents(runId: $run) {
      __typename
      ... on RunEvent {
        seq
        name
        data
      }
    }
  }
`;

/** Keeps a run's line on the screen up to date until the run is over. */
export async function showProgress(api: ApiClient, run: DemoRun, screen: Screen, signal: AbortSignal): Promise<void> {
  screen.update(run.id, waiting(run));
  const snapshots = api.subscribe<{ runProgress: Progress }>(progressDocument, { run: run.id }, signal);
  for await (const { runProgress } of snapshots) screen.update(run.id, lineOf(run, runProgress));
}

/** Hands a run's events to `onEvent`, in order, until the run is over. */
export async function followEvents(
  api: ApiClient,
  run: DemoRun,
  onEvent: (event: WatchedEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  const items = api.subscribe<{ runEvents: { __typename: string } & WatchedEvent }>(
    eventsDocument,
    { run: run.id },
    signal,
  );
  for await (const { runEvents } of items) {
    if (runEvents.__typename !== 'StreamEnd' && runEvents.__typename !== 'StreamGap') onEvent(runEvents);
  }
}

function waiting({ agency, pipeline }: DemoRun): RunLine {
  return {
    agency,
    pipeline,
    state: 'waiting',
    stage: '',
    recordsRead: 0n,
    fraction: null,
    ratePerSecond: null,
    etaAt: null,
  };
}

const states: Record<string, RunLine['state']> = {
  PENDING: 'waiting',
  COMPLETED: 'completed',
  FAILED: 'failed',
  CANCELLED: 'failed',
};

function lineOf(run: DemoRun, progress: Progress): RunLine {
  return {
    agency: run.agency,
    pipeline: run.pipeline,
    state: states[progress.status] ?? 'running',
    stage: progress.stage,
    recordsRead: BigInt(progress.recordsRead),
    fraction: progress.fraction,
    ratePerSecond: progress.ratePerSecond,
    etaAt: progress.etaAt === null ? null : new Date(progress.etaAt),
  };
}
