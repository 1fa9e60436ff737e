/** What the window needs to know of an event. */
export interface Placed {
  readonly seq: string;
  /** Its place on the server; a page before it ends right in front of it. */
  readonly cursor: string;
}

/** The part of a run's events that a page holds: contiguous, in order. */
export interface EventWindow<Event extends Placed> {
  readonly events: readonly Event[];
  /** There are earlier ones on the server. */
  readonly hasEarlier: boolean;
  /** Events that are kept, and at most a tenth more; grows with what is loaded by hand. */
  readonly keptMax: number;
}

/**
 * Adds what has come. Beyond `keptMax` the oldest go, and are earlier ones on the server from then on; many at once and seldom, because
 * a list that loses its beginning is looked through anew (`growingFilter`).
 */
export function append<Event extends Placed>(
  window: EventWindow<Event>,
  arrived: readonly Event[],
): EventWindow<Event> {
  const all = [...window.events, ...arrived];
  const surplus = all.length - window.keptMax;
  return surplus > window.keptMax / 10
    ? { ...window, events: all.slice(surplus), hasEarlier: true }
    : { ...window, events: all };
}

/** Adds a page that ends before the first event; a page that was asked for before another first one fits no more. */
export function prepend<Event extends Placed>(
  window: EventWindow<Event>,
  page: { before: string; events: readonly Event[]; hasEarlier: boolean },
): EventWindow<Event> {
  if (window.events[0]?.cursor !== page.before) return window;
  return {
    events: [...page.events, ...window.events],
    hasEarlier: page.hasEarlier,
    keptMax: window.keptMax + page.events.length,
  };
}

/**
 * Filters as a list grows: of a longer list that begins as the one before only the new end is looked at, so that a long log costs a
 * search no more with each event that comes.
 */
export function growingFilter<Event extends Placed>(): (
  events: readonly Event[],
  key: string,
  fits: (event: Event) => boolean,
) => readonly Event[] {
  let last: { key: string; events: readonly Event[]; shown: readonly Event[] } = { key: '', events: [], shown: [] };
  return (events, key, fits) => {
    const known = last.events.length;
    const goesOn =
      last.key === key &&
      known > 0 &&
      events.length >= known &&
      events[0] === last.events[0] &&
      events[known - 1] === last.events[known - 1];
    const more = events.slice(goesOn ? known : 0).filter(fits);
    const shown = goesOn ? (more.length === 0 ? last.shown : [...last.shown, ...more]) : more;
    last = { key, events, shown };
    return shown;
  };
}
