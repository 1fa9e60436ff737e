/** What the window needs to know of a run. Ids are in the order of the list, which is that of their runs' making. */
export interface Placed {
  readonly id: string;
  readonly runId: string;
  /** Of two states of a run the one with the higher number is the newer. */
  readonly version: string;
}

/** A run as it is now, or that it is no longer among those asked for. */
export interface Change<Run extends Placed> {
  readonly run: Run;
  readonly matches: boolean;
}

/** A page of the API's list. */
export interface ListPage<Run extends Placed> {
  readonly edges: readonly { readonly node: Run; readonly cursor: string }[];
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor?: string | null };
}

/** The part of the list of runs that a page holds: from the newest down to a place, without a hole. */
export interface RunWindow<Run extends Placed> {
  readonly runs: readonly Run[];
  /** Where the list goes on after each run that came with a page. */
  readonly cursors: ReadonlyMap<string, string>;
  /** Where the runs go on that are not held; null when all are. */
  readonly next: string | null;
  /** Most runs that are held; grows with what is loaded by hand. */
  readonly keptMax: number;
}

/** New runs that may come before the oldest go: a list that is open all day must not grow all day. */
const spare = 200;

export function emptyWindow<Run extends Placed>(): RunWindow<Run> {
  return { runs: [], cursors: new Map(), next: null, keptMax: spare };
}

/** The newest runs, read at the beginning or again. Where nothing of them was held, there is a hole below them: they begin anew. */
export function withFirst<Run extends Placed>(window: RunWindow<Run>, page: ListPage<Run>): RunWindow<Run> {
  const held = new Set(window.runs.map(({ id }) => id));
  if (window.runs.length === 0 || (page.pageInfo.hasNextPage && !page.edges.some(({ node }) => held.has(node.id)))) {
    return added({ ...emptyWindow<Run>(), next: goesOn(page), keptMax: spare + page.edges.length }, page);
  }
  return added(window, page);
}

/** The page that was asked for with `next`. */
export function withNext<Run extends Placed>(window: RunWindow<Run>, page: ListPage<Run>): RunWindow<Run> {
  return added({ ...window, next: goesOn(page), keptMax: window.keptMax + page.edges.length }, page);
}

/**
 * The runs with changes in them. One that stands below what is held is left for the page that it is on: the feed tells of every run
 * that changes, however old. An older state never replaces a newer one.
 */
export function withChanges<Run extends Placed>(
  window: RunWindow<Run>,
  changes: Iterable<Change<Run>>,
): RunWindow<Run> {
  const floor = window.next === null ? '' : (window.runs.at(-1)?.runId ?? '');
  return trimmed({ ...window, runs: merged(window.runs, changes, floor) });
}

function added<Run extends Placed>(window: RunWindow<Run>, page: ListPage<Run>): RunWindow<Run> {
  const cursors = new Map([...window.cursors, ...page.edges.map(({ node, cursor }) => [node.id, cursor] as const)]);
  const news = page.edges.map(({ node }) => ({ run: node, matches: true }));
  return trimmed({ ...window, cursors, runs: merged(window.runs, news, '') });
}

/** @param floor no run that is not held comes in below this one */
function merged<Run extends Placed>(held: readonly Run[], changes: Iterable<Change<Run>>, floor: string): Run[] {
  const runs = new Map(held.map((run) => [run.id, run]));
  for (const { matches, run } of changes) {
    const known = runs.get(run.id);
    if (known && BigInt(known.version) > BigInt(run.version)) continue;
    if (!matches) runs.delete(run.id);
    else if (known || run.runId > floor) runs.set(run.id, run);
  }
  return [...runs.values()].sort((a, b) => (a.runId < b.runId ? 1 : -1));
}

/** Lets the oldest go if the list can go on in their place: after a run whose cursor is known. */
function trimmed<Run extends Placed>(window: RunWindow<Run>): RunWindow<Run> {
  if (window.runs.length <= window.keptMax) return window;
  const last = window.runs.findLastIndex(({ id }, i) => i < window.keptMax && window.cursors.has(id));
  const next = window.cursors.get(window.runs[last]?.id ?? '');
  if (next === undefined) return window;
  const runs = window.runs.slice(0, last + 1);
  const held = new Set(runs.map(({ id }) => id));
  return { ...window, runs, next, cursors: new Map([...window.cursors].filter(([id]) => held.has(id))) };
}

function goesOn({ pageInfo }: ListPage<Placed>): string | null {
  return pageInfo.hasNextPage ? (pageInfo.endCursor ?? null) : null;
}
