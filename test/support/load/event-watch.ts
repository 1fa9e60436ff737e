/** Holds every subscription to a run's events to bring one after the other, from where it was asked. */
export interface EventWatch {
  /** Looks at what is sent to the server; null where it asks for no run's events. @param body `{ query, variables }` as JSON */
  open(body: string): EventStream | null;
  readonly events: number;
  /** When an event came, and how long after its time stamp, of those that were written while their subscription was open. */
  readonly delays: readonly { at: number; ms: number }[];
  /** Gaps, repeats and disorder, in words. */
  readonly faults: readonly string[];
}

export interface EventStream {
  /** What was sent for it. */
  readonly asked: string;
  /** Looks at the next result, `{ data, errors }` as JSON. */
  take(result: string): void;
}

interface Asked {
  query?: string;
  variables?: { runId?: string; after?: string | null };
}
interface Item {
  __typename: string;
  seq?: string;
  cursor?: string | null;
  at?: string;
  lastSeq?: string;
}

export function createEventWatch(now: () => number = Date.now): EventWatch {
  /** Where each cursor stands, so that a subscription after one can be held to go on from there. */
  const positions = new Map<string, bigint>();
  const delays: { at: number; ms: number }[] = [];
  const faults: string[] = [];
  let events = 0;

  const placeOf = (runId: string, after: string | null): bigint => {
    const place = after === null ? 0n : positions.get(after);
    if (place === undefined) faults.push(`run ${runId}: a subscription goes on after a cursor that no event had`);
    return place ?? 0n;
  };
  return {
    open(body) {
      const { query = '', variables: { runId = '', after = null } = {} } = JSON.parse(body) as Asked;
      if (!/\bsubscription\b[^]*\brunEvents\b/.test(query)) return null;
      const openedAt = now();
      let last = placeOf(runId, after);
      const event = (item: Item): void => {
        const seq = BigInt(item.seq ?? -1);
        if (seq !== last + 1n) faults.push(`run ${runId}: event ${String(seq)} came after ${String(last)}`);
        last = seq;
        events += 1;
        const written = Date.parse(item.at ?? '');
        const at = now();
        if (written >= openedAt) delays.push({ at, ms: Math.max(0, at - written) });
      };
      return {
        asked: body,
        take(result) {
          const item = (JSON.parse(result) as { data?: { runEvents?: Item | null } | null }).data?.runEvents;
          if (!item) return;
          if (item.__typename === 'StreamGap')
            faults.push(`run ${runId}: the server tells of a gap after ${String(last)}`);
          else if (item.__typename !== 'StreamEnd') event(item);
          else if (item.lastSeq !== String(last)) {
            faults.push(`run ${runId}: over at ${String(item.lastSeq)}, and the last event was ${String(last)}`);
          }
          if (typeof item.cursor === 'string') positions.set(item.cursor, last);
        },
      };
    },
    get events() {
      return events;
    },
    delays,
    faults,
  };
}
