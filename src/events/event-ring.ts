import type { RunEvent } from '../db/run-events.ts';

/** The newest events of a run, without a hole between them, as many as its bounds allow. */
export interface EventRing {
  /** Events that follow the ring's last, in order. What does not follow it begins the ring anew. */
  append(events: readonly RunEvent[]): void;
  /** Up to `most` events after a place; undefined when the place is behind the ring, none when it is at its end or beyond. */
  after(place: bigint, most: number): readonly RunEvent[] | undefined;
  /** For tests and metrics: what it holds. */
  size(): { events: number; bytes: number };
}

export interface RingBounds {
  events: number;
  /** Of messages and facts as JSON, which is nearly all of an event. */
  bytes: number;
}

/** What a slow reader can fall behind before it reads the table itself. */
const usualBounds: RingBounds = { events: 512, bytes: 1_048_576 };

export function createEventRing(bounds: RingBounds = usualBounds): EventRing {
  let held: { event: RunEvent; bytes: number }[] = [];
  let bytes = 0;
  return {
    append(events) {
      for (const event of events) {
        const last = held.at(-1)?.event.seq;
        if (last !== undefined && event.seq !== last + 1n) {
          held = [];
          bytes = 0;
        }
        const size = event.message.length + JSON.stringify(event.data).length;
        held.push({ event, bytes: size });
        bytes += size;
      }
      let spare = 0;
      // The newest stays however large it is.
      while (spare < held.length - 1 && (held.length - spare > bounds.events || bytes > bounds.bytes)) {
        bytes -= held[spare]?.bytes ?? 0;
        spare += 1;
      }
      if (spare > 0) held = held.slice(spare);
    },
    after(place, most) {
      const first = held[0]?.event.seq;
      if (first === undefined || place + 1n < first) return undefined;
      const from = Number(place + 1n - first);
      return held.slice(from, from + most).map(({ event }) => event);
    },
    size: () => ({ events: held.length, bytes }),
  };
}
