import type { WatchedEvent } from './watch-run.ts';

/**
 * Chooses the worker that the demo kills: the one that committed the batch with which the run passes a third of its records.
 * It knows only what the run's events say.
 */
export interface Assassin {
  /** @returns the worker's id and its partition when its time has come, once */
  observe(event: WatchedEvent): { worker: string; partition: number } | null;
  /** Resolves with the seconds from the kill to the next batch of the same partition. */
  readonly recovered: Promise<number>;
}

/** @param killAfter records of the run after which the kill is due */
export function createAssassin(killAfter: number, now: () => number = () => performance.now()): Assassin {
  const holders = new Map<number, string>();
  let read = 0;
  let victim: { partition: number; at: number } | undefined;
  let report: (seconds: number) => void = () => undefined;
  const recovered = new Promise<number>((resolve) => {
    report = resolve;
  });

  return {
    recovered,
    observe({ name, data }) {
      const partition = Number(data?.['partition']);
      if (name === 'PartitionClaimed' || name === 'PartitionTakenOver')
        holders.set(partition, String(data?.['worker']));
      if (name !== 'BatchCommitted') return null;
      if (victim) {
        if (victim.partition === partition && holders.has(partition)) report((now() - victim.at) / 1000);
        return null;
      }
      read += Number(data?.['read']);
      const worker = holders.get(partition);
      if (read < killAfter || worker === undefined || data?.['last'] === true) return null;
      victim = { partition, at: now() };
      // What the dead worker had committed before it died may still be on its way here; only a new holder's batch counts.
      holders.delete(partition);
      return { worker, partition };
    },
  };
}
