/**
 * Shows, before a pattern ever sees a stranger's text, that a backtracking engine runs it in bounded time.
 *
 * The pattern becomes its position automaton: one state for each character set, and edges counted as often as there are
 * ways to take them, because each way is one more thing to try. Then (Weber and Seidl, "On the degree of ambiguity of
 * finite automata", 1991): two ways round one loop on the same text cost exponential time; a loop that can hand the same
 * text over to another loop costs one more power of the length; and choices outside of loops multiply. Refused is what is
 * exponential, cubic or worse, or multiplies to more than 65,536 ways. Where it errs it errs towards refusing.
 */
import {
  edgeCount,
  masksOf,
  parsePattern,
  PatternNotOffered,
  type CharacterSet,
  type PatternNode,
} from './pattern-syntax.ts';

/** As contract.schema.json says, and before anything recursive reads the pattern. */
const patternLengthMax = 512;
/** States that an analysis may have; the usual pattern has under 30. */
const stateCountMax = 300;
/** Edges that one document's analyses may make and walk together: well under a second of the API's only thread. */
const walkMax = 2_000_000;
/** log2 of the ways that choices outside of loops may multiply to. */
const choiceBitsMax = 16;
/** `x{n,m}` is written out while m - n is below this, and looked at as `x{n,}` above. */
const writtenOutMax = 8;
/** Copies of a fixed repeat that are looked at: if one offers a choice, so many of them offer too many. */
const copiesMax = choiceBitsMax + 1;
/** A character after the last code point: what an engine that has taken the whole pattern may still be refused for. */
const endOfText: CharacterSet = [[0x110000, 0x110000]];

type Ways = Map<number, number>;
interface Draft {
  /** Characters of each state; state 0 is the start and has none. */
  sets: CharacterSet[];
  /** Ways from one state to the next. */
  follow: Ways[];
  walk: Walk;
}
interface Automaton {
  /** The same sets as bits, so that two states share a character exactly if their bits do. */
  masks: bigint[];
  follow: Ways[];
  walk: Walk;
}
interface Part {
  first: Ways;
  last: Ways;
  /** Ways to match nothing. */
  empty: number;
}

/** What the analyses of one document may still spend; several patterns share it. */
export interface Walk {
  left: number;
}

export function newWalk(): Walk {
  return { left: walkMax };
}

/** Why the pattern may not be used, or null. */
export function patternProblem(pattern: string, walk: Walk = newWalk()): string | null {
  if (pattern.length > patternLengthMax) return `is longer than ${patternLengthMax} characters`;
  try {
    new RegExp(pattern, 'u');
  } catch (cause) {
    return `is no regular expression (${(cause as Error).message})`;
  }
  try {
    return costProblem(parsePattern(pattern), walk);
  } catch (cause) {
    if (cause instanceof PatternNotOffered) return cause.message;
    throw cause;
  }
}

function costProblem(tree: PatternNode, walk: Walk): string | null {
  const automaton = read(build(tree, walk));
  const components = loopComponents(automaton);
  if (choiceBits(automaton, components) > choiceBitsMax)
    return 'offers too many ways to match one text; write the choices apart';
  if (isExponential(automaton, components)) {
    return 'could take exponential time (a repeat inside a repeat that match the same text)';
  }
  const degree = polynomialDegree(automaton, components) + (startsAnchored(tree) ? 0 : 1);
  if (degree <= 1) return null;
  return 'could take cubic time or worse (repeats after one another that match the same text); anchor it with ^ and keep one';
}

function build(tree: PatternNode, walk: Walk): Draft {
  const draft: Draft = { sets: [[]], follow: [new Map<number, number>()], walk };
  const root = join(draft, partOf(draft, tree), state(draft, endOfText));
  draft.follow[0] = root.first;
  return draft;
}

function partOf(draft: Draft, node: PatternNode): Part {
  spend(draft.walk);
  switch (node.kind) {
    case 'set':
      return state(draft, node.set);
    case 'empty':
      return { first: new Map(), last: new Map(), empty: 1 };
    case 'sequence':
      return node.parts.reduce((left, right) => join(draft, left, partOf(draft, right)), nothing());
    case 'choice':
      return node.parts.map((each) => partOf(draft, each)).reduce(either);
    case 'repeat':
      return repeat(draft, node);
  }
}

function state(draft: Draft, set: CharacterSet): Part {
  const id = draft.sets.length;
  if (id > stateCountMax)
    throw new PatternNotOffered(`is too long (more than ${stateCountMax} characters and classes)`);
  draft.sets.push(set);
  draft.follow.push(new Map());
  return { first: new Map([[id, 1]]), last: new Map([[id, 1]]), empty: 0 };
}

function nothing(): Part {
  return { first: new Map(), last: new Map(), empty: 1 };
}

function join(draft: Draft, left: Part, right: Part): Part {
  connect(draft, left.last, right.first);
  return {
    first: sum(left.first, right.first, left.empty),
    last: sum(right.last, left.last, right.empty),
    empty: left.empty * right.empty,
  };
}

function either(left: Part, right: Part): Part {
  return {
    first: sum(left.first, right.first, 1),
    last: sum(left.last, right.last, 1),
    empty: left.empty + right.empty,
  };
}

function repeat(draft: Draft, { body, min, max }: PatternNode & { kind: 'repeat' }): Part {
  let whole = nothing();
  for (let copy = 0; copy < Math.min(min, copiesMax); copy += 1) whole = join(draft, whole, partOf(draft, body));
  if (max - min >= writtenOutMax) return join(draft, whole, loop(draft, partOf(draft, body)));
  // x{0,3} is (x(x(x)?)?)?, so that leaving out the second leaves out the third.
  let tail = nothing();
  for (let copy = min; copy < max; copy += 1) {
    const once = join(draft, partOf(draft, body), tail);
    tail = { ...once, empty: once.empty + 1 };
  }
  return join(draft, whole, tail);
}

function loop(draft: Draft, body: Part): Part {
  connect(draft, body.last, body.first);
  return { ...body, empty: 1 };
}

function connect(draft: Draft, from: Ways, to: Ways): void {
  for (const [source, leaving] of from) {
    const edges = draft.follow[source] as Ways;
    spend(draft.walk, to.size);
    for (const [target, entering] of to) edges.set(target, (edges.get(target) ?? 0) + leaving * entering);
  }
}

function sum(left: Ways, right: Ways, times: number): Ways {
  const total = new Map(left);
  if (times > 0) for (const [key, ways] of right) total.set(key, (total.get(key) ?? 0) + ways * times);
  return total;
}

function read({ sets, follow, walk }: Draft): Automaton {
  spend(walk, Math.ceil(edgeCount(sets) / 8));
  return { masks: masksOf(sets), follow, walk };
}

/** For each state the number of its loop (a strongly connected component with an edge inside), or -1 outside of loops. */
function loopComponents({ follow, walk }: Automaton): number[] {
  const reach = follow.map((_edges, from) => reachable(follow, from, walk));
  const component = follow.map(() => -1);
  for (const [id, own] of reach.entries()) {
    if (!own.has(id) || component[id] !== -1) continue;
    for (const other of own) if (reach[other]?.has(id) === true) component[other] = id;
  }
  return component;
}

/** What can be reached in one step or more. */
function reachable(follow: Ways[], from: number, walk: Walk): Set<number> {
  const seen = new Set<number>();
  const open = [...(follow[from] as Ways).keys()];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    if (seen.has(at)) continue;
    seen.add(at);
    const next = follow[at] as Ways;
    spend(walk, next.size);
    open.push(...next.keys());
  }
  return seen;
}

/**
 * A state outside of loops is passed once and a loop is left once, so their overlapping choices multiply the ways, whatever
 * the text's length. Whether a loop goes on instead is the degree's business.
 */
function choiceBits({ masks, follow, walk }: Automaton, components: number[]): number {
  let bits = 0;
  const leaving = new Map<number, number>();
  for (const [id, edges] of follow.entries()) {
    const component = components[id] as number;
    const outside = [...edges].filter(([target]) => component === -1 || components[target] !== component);
    spend(walk, outside.length ** 2);
    const worst = outside.map(([target]) =>
      outside.reduce((ways, [other, count]) => ways + (shared(masks, target, other) !== 0n ? count : 0), 0),
    );
    const ways = Math.max(1, ...worst);
    if (component === -1) bits += Math.log2(ways);
    else leaving.set(component, Math.max(ways, leaving.get(component) ?? 1));
  }
  return leaving.values().reduce((total, ways) => total + Math.log2(ways), bits);
}

/** Two different ways round, on one text: from (p, p) to a pair of unequal states or over a doubled edge, and back. */
function isExponential(automaton: Automaton, components: number[]): boolean {
  const loopStates = components.flatMap((component, id) => (component === -1 ? [] : [id]));
  return loopStates.some((start) => {
    const inside = (id: number): boolean => components[id] === components[start];
    const doubled = [...(automaton.follow[start] as Ways)].some(([target, ways]) => ways > 1 && inside(target));
    if (doubled) return true;
    const forth = pairsFrom(automaton, [start, start], inside);
    return forth.some(
      ([p, q]) =>
        p !== q && pairsFrom(automaton, [p, q], inside).some((pair) => pair[0] === start && pair[1] === start),
    );
  });
}

/** Pairs of states reached from a pair by reading the same text, inside one loop. */
function pairsFrom(
  { masks, follow, walk }: Automaton,
  from: [number, number],
  inside: (id: number) => boolean,
): [number, number][] {
  const seen = new Map<number, [number, number]>();
  const open = [from];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    for (const p of (follow[at[0]] as Ways).keys()) {
      if (!inside(p)) continue;
      for (const q of (follow[at[1]] as Ways).keys()) {
        spend(walk);
        const key = p * (stateCountMax + 1) + q;
        if (!inside(q) || seen.has(key) || shared(masks, p, q) === 0n) continue;
        seen.set(key, [p, q]);
        open.push([p, q]);
      }
    }
  }
  return [...seen.values()];
}

/** The longest chain of loops in which each can hand the same text over to the next. */
function polynomialDegree(automaton: Automaton, components: number[]): number {
  const loopStates = components.flatMap((component, id) => (component === -1 ? [] : [id]));
  const handsOver = new Map<number, Set<number>>();
  for (const p of loopStates) {
    for (const q of loopStates) {
      const [from, to] = [components[p] as number, components[q] as number];
      if (from === to || handsOver.get(from)?.has(to) === true) continue;
      if (sharesText(automaton, components, p, q)) handsOver.set(from, (handsOver.get(from) ?? new Set()).add(to));
    }
  }
  return Math.max(0, ...handsOver.keys().map(longestFrom(handsOver)));
}

/** Loops are in no cycle with one another, so this ends; what is known is kept, because chains share their ends. */
function longestFrom(handsOver: Map<number, Set<number>>): (from: number) => number {
  const known = new Map<number, number>();
  return function longest(from: number): number {
    const length =
      known.get(from) ??
      Math.max(0, ...(handsOver.get(from) ?? new Set<number>()).values().map((to) => 1 + longest(to)));
    known.set(from, length);
    return length;
  };
}

/** Is there one text that leads p to p, p to q, and q to q? Walks the triples from (p, p, q) to (p, q, q). */
function sharesText({ masks, follow, walk }: Automaton, components: number[], p: number, q: number): boolean {
  const seen = new Set<string>();
  const open: [number, number, number][] = [[p, p, q]];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    for (const x of (follow[at[0]] as Ways).keys()) {
      if (components[x] !== components[p]) continue;
      for (const z of (follow[at[2]] as Ways).keys()) {
        const common = components[z] === components[q] ? shared(masks, x, z) : 0n;
        if (common === 0n) continue;
        for (const y of (follow[at[1]] as Ways).keys()) {
          spend(walk);
          const key = `${x} ${y} ${z}`;
          if (seen.has(key) || (common & (masks[y] as bigint)) === 0n) continue;
          if (x === p && y === q && z === q) return true;
          seen.add(key);
          open.push([x, y, z]);
        }
      }
    }
  }
  return false;
}

function spend(walk: Walk, edges = 1): void {
  walk.left -= edges;
  if (walk.left < 0) throw new PatternNotOffered('is too complicated to be shown safe; make it simpler');
}

function shared(masks: bigint[], left: number, right: number): bigint {
  return (masks[left] as bigint) & (masks[right] as bigint);
}

/** Every alternative begins with `^`; otherwise the engine tries each place of the text as a start. */
function startsAnchored(node: PatternNode): boolean {
  switch (node.kind) {
    case 'empty':
      return node.start;
    case 'sequence':
      return node.parts.length > 0 && startsAnchored(node.parts[0] as PatternNode);
    case 'choice':
      return node.parts.every(startsAnchored);
    default:
      return false;
  }
}
