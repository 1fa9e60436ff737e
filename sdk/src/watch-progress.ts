import type { Client } from './client.ts';
import { unknownRun } from './errors.ts';
import { RunProgressDocument, RunProgressedDocument, type RunProgressedSubscription } from './generated/graphql.ts';
import { poll, watch, type WatchOptions } from './watch-options.ts';

export type RunProgress = RunProgressedSubscription['runProgress'];

export interface WatchProgressOptions extends WatchOptions {
  /** Most snapshots a second, 1 to 20; the server's 4 if absent. */
  maxPerSecond?: number;
}

/**
 * The newest snapshot of a run whenever something changed, the first at once, until the run is over. What is older than what was
 * handed out already is left out; after a broken connection the next snapshot is simply the newest.
 *
 * @throws FluxError what no other try can change
 */
export function watchProgress(
  client: Client,
  runId: string,
  options: WatchProgressOptions = {},
): AsyncGenerator<RunProgress, void, undefined> {
  const { maxPerSecond } = options;
  return watch<RunProgress>(
    client,
    {
      after: null,
      open(transport, _cursor, hooks) {
        if (transport !== 'polling') {
          const variables = { runId, ...(maxPerSecond === undefined ? {} : { maxPerSecond }) };
          return client.open(transport, RunProgressedDocument, variables, 'runProgress', hooks);
        }
        let last = '';
        return poll<RunProgress>(client, hooks, async () => {
          const run = await client.query(RunProgressDocument, { id: runId }, 'run', { signal: hooks.signal });
          if (!run) throw unknownRun(runId);
          const now = JSON.stringify(run.progress);
          const items = run.progress && now !== last ? [run.progress] : [];
          last = now;
          return { items, more: false, last: run.isTerminal };
        });
      },
      cursorOf: () => null,
      isLast: () => false,
    },
    options,
  );
}
