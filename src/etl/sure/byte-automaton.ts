/** What a pattern is made of. A set says for each byte of ASCII whether it is in it. */
export type Piece =
  | { is: 'set'; bytes: Uint8Array }
  | { is: 'sequence'; of: readonly Piece[] }
  | { is: 'choice'; of: readonly Piece[] }
  | { is: 'repeat'; of: Piece; min: number; max: number };

/** One of a pattern's choices, and whether it begins and ends with the text. */
export interface AnchoredPiece {
  piece: Piece;
  atStart: boolean;
  atEnd: boolean;
}

const width = 128;
/** A larger automaton is not worth its memory, and could be made large on purpose. */
const nodeCountMax = 2_000;
const stateCountMax = 400;
const dead = 0;

interface Node {
  /** null: it leads on without a byte. */
  bytes: Uint8Array | null;
  to: number[];
}

/**
 * A deterministic automaton over bytes: a step a byte, whatever the pattern. Text beyond ASCII is never accepted, since it knows nothing
 * of it.
 */
export class ByteAutomaton {
  readonly #steps: Uint16Array;
  readonly #accepting: Uint8Array;

  private constructor(steps: Uint16Array, accepting: Uint8Array) {
    this.#steps = steps;
    this.#accepting = accepting;
  }

  /** @returns null: it would be too large */
  static of(choices: readonly AnchoredPiece[]): ByteAutomaton | null {
    const nodes = new Nodes();
    const end = nodes.add(null);
    const anything = new Uint8Array(width).fill(1);
    const starts = choices.map(({ piece, atStart, atEnd }) => {
      const behind = atEnd ? end : nodes.add(null, end);
      if (!atEnd) nodes.lead(behind, nodes.add(anything, behind));
      const begin = nodes.build(piece, behind);
      if (atStart) return begin;
      const before = nodes.add(null, begin);
      nodes.lead(before, nodes.add(anything, before));
      return before;
    });
    return nodes.tooMany ? null : ByteAutomaton.#determine(nodes, starts, end);
  }

  static #determine(nodes: Nodes, starts: readonly number[], end: number): ByteAutomaton | null {
    // State 0 is dead, state 1 the beginning.
    const known = new Map<string, number>([['', dead]]);
    const sets: number[][] = [[]];
    const stateOf = (from: readonly number[]): number => {
      const set = nodes.closure(from);
      const key = set.join();
      const found = known.get(key);
      if (found !== undefined) return found;
      known.set(key, sets.length);
      sets.push(set);
      return sets.length - 1;
    };
    stateOf(starts);
    const steps: number[] = new Array<number>(width).fill(dead);
    const { kindOf, examples } = nodes.kinds();
    for (let state = 1; state < sets.length; state += 1) {
      if (sets.length > stateCountMax) return null;
      const set = sets[state] as number[];
      const after = examples.map((byte) => stateOf(nodes.after(set, byte)));
      for (const kind of kindOf) steps.push(after[kind] as number);
    }
    return new ByteAutomaton(
      Uint16Array.from(steps),
      Uint8Array.from(sets, (set) => (set.includes(end) ? 1 : 0)),
    );
  }

  get stateCount(): number {
    return this.#accepting.length;
  }

  /** The state after a byte; 0 is dead, and the first state is 1. */
  step(state: number, byte: number): number {
    return byte >= width ? dead : (this.#steps[state * width + byte] as number);
  }

  acceptsAt(state: number): boolean {
    return this.#accepting[state] === 1;
  }

  /** Whether the whole of `bytes[start, end)` is accepted. */
  accepts(bytes: Uint8Array, start: number, end: number): boolean {
    const steps = this.#steps;
    let state = 1;
    for (let at = start; at < end; at += 1) {
      const byte = bytes[at] as number;
      if (byte >= width) return false;
      state = steps[state * width + byte] as number;
      if (state === dead) return false;
    }
    return this.#accepting[state] === 1;
  }
}

/** The automaton before it is determined. */
class Nodes {
  readonly #nodes: Node[] = [];

  get tooMany(): boolean {
    return this.#nodes.length > nodeCountMax;
  }

  add(bytes: Uint8Array | null, ...to: number[]): number {
    this.#nodes.push({ bytes, to });
    return this.#nodes.length - 1;
  }

  lead(from: number, to: number): void {
    this.#nodes[from]?.to.push(to);
  }

  /** @returns the node that begins it; behind it comes `next` */
  build(piece: Piece, next: number): number {
    if (this.tooMany) return next;
    if (piece.is === 'set') return this.add(piece.bytes, next);
    if (piece.is === 'sequence') return piece.of.reduceRight((behind, each) => this.build(each, behind), next);
    if (piece.is === 'choice') return this.add(null, ...piece.of.map((each) => this.build(each, next)));
    let behind = next;
    if (piece.max === Infinity) {
      behind = this.add(null, next);
      this.lead(behind, this.build(piece.of, behind));
    } else {
      for (let time = piece.min; time < piece.max && !this.tooMany; time += 1)
        behind = this.add(null, next, this.build(piece.of, behind));
    }
    for (let time = 0; time < piece.min && !this.tooMany; time += 1) behind = this.build(piece.of, behind);
    return behind;
  }

  closure(from: readonly number[]): number[] {
    const found = new Set<number>();
    const open = [...from];
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      if (found.has(at)) continue;
      found.add(at);
      const node = this.#nodes[at] as Node;
      if (node.bytes === null) open.push(...node.to);
    }
    return [...found].sort((one, other) => one - other);
  }

  /** Bytes that no node tells apart lead everywhere to the same: which kind each byte is, and one byte of each kind. */
  kinds(): { kindOf: Uint8Array; examples: number[] } {
    const distinct = new Set(this.#nodes.map(({ bytes }) => bytes).filter((bytes) => bytes !== null));
    const known = new Map<string, number>();
    const examples: number[] = [];
    const kindOf = Uint8Array.from({ length: width }, (_each, byte) => {
      const key = Array.from(distinct, (bytes) => bytes[byte]).join('');
      const kind = known.get(key);
      if (kind !== undefined) return kind;
      known.set(key, examples.length);
      examples.push(byte);
      return examples.length - 1;
    });
    return { kindOf, examples };
  }

  after(set: readonly number[], byte: number): number[] {
    return set.flatMap((at) => {
      const { bytes, to } = this.#nodes[at] as Node;
      return bytes?.[byte] === 1 ? to : [];
    });
  }
}

/** A text as it stands; null beyond ASCII. */
export function literalPiece(text: string): Piece | null {
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.some((byte) => byte >= width)) return null;
  return { is: 'sequence', of: [...bytes].map((byte) => ({ is: 'set', bytes: setOf(byte) })) };
}

export function setOf(...bytes: number[]): Uint8Array {
  const set = new Uint8Array(width);
  for (const byte of bytes) set[byte] = 1;
  return set;
}
