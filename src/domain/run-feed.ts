import { listRunChanges, numberRunChanges } from '../db/run-feed.ts';
import type { Run, RunFilter } from '../db/runs.ts';
import type { Feed } from '../events/feed.ts';
import { anyRun } from '../events/listen.ts';

/** A run at its newest change. */
export interface RunChange {
  run: Run;
  /** Its place in the agency's feed; whoever has it goes on after it. */
  seq: bigint;
  /** Whether its state is one of those asked for. */
  matches: boolean;
}

/** Hints name any agency's runs: they are taken together, so that a busy neighbour costs a few reads a second. */
const quietMs = 150;

/** The agency's changed runs, each at its newest change, as far as a filter concerns them. A change out of its states does. */
export function runFeed({ statuses, ...conditions }: RunFilter): Feed<RunChange> {
  return {
    hint: anyRun,
    quietMs,
    findHead: numberRunChanges,
    async readPage(tx, page) {
      const changes = await listRunChanges(tx, { filter: conditions, ...page });
      return changes.map(({ feedSeq: seq, ...run }) => ({
        run,
        seq,
        matches: !statuses || statuses.includes(run.status),
      }));
    },
    placeOf: ({ seq }) => seq,
  };
}
