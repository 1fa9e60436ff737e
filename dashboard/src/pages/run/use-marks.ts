import { useMemo, useState } from 'react';

import { growingFilter } from './event-window.ts';
import type { LoggedEvent } from './use-event-log.ts';

/** What the chart of partitions shows beside their times. */
export interface Marks {
  partitions: ReadonlyMap<number, readonly LoggedEvent[]>;
  attempts: readonly LoggedEvent[];
}

/** The marks among the events that the page holds. Only what is new is looked at when events come; without a new mark they stay the same. */
export function useMarks(events: readonly LoggedEvent[]): Marks {
  const [filter] = useState(growingFilter<LoggedEvent>);
  const marked = filter(events, '', ({ name }) => /^(PartitionTakenOver|PartitionRetried|RunResumed)$/.test(name));
  return useMemo(() => {
    const partitions = Map.groupBy(
      marked.filter(({ name }) => name !== 'RunResumed'),
      ({ partitionNo }) => partitionNo ?? -1,
    );
    return { partitions, attempts: marked.filter(({ name }) => name === 'RunResumed') };
  }, [marked]);
}
