import type { ApiClient } from '../client.ts';
import { lineOf } from '../watch-run.ts';
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

/** Keeps a run's line on the screen up to date until the run is over. */
export async function showProgress(api: ApiClient, run: DemoRun, screen: Screen, signal: AbortSignal): Promise<void> {
  screen.update(run.id, waiting(run));
  const snapshots = api.flux.runs.progress(run.id, { maxPerSecond: 5, signal });
  for await (const progress of snapshots) screen.update(run.id, lineOf(progress, run));
}

/** Hands a run's events to `onEvent`, in order, until the run is over. */
export async function followEvents(
  api: ApiClient,
  run: DemoRun,
  onEvent: (event: WatchedEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  for await (const item of api.flux.runs.watch(run.id, { withData: true, signal })) {
    if (item.__typename === 'StreamEnd' || item.__typename === 'StreamGap') continue;
    onEvent({ seq: item.seq, name: item.name, data: (item.data ?? null) as WatchedEvent['data'] });
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
