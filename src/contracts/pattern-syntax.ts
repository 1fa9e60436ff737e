/**
 * Reads an ECMAScript pattern (unicode mode, as JSON Schema asks) into a tree of character sets. Only regular languages:
 * look-around and back-references are refused, because no bound on their cost can be shown and RE2 does not have them.
 */

/** Inclusive code point ranges, in no order. */
export type CharacterSet = readonly (readonly [number, number])[];

export type PatternNode =
  | { kind: 'set'; set: CharacterSet }
  /** An assertion that takes no character: `$`, `\b`, `\B`; `start` is `^`. */
  | { kind: 'empty'; start: boolean }
  | { kind: 'sequence'; parts: PatternNode[] }
  | { kind: 'choice'; parts: PatternNode[] }
  | { kind: 'repeat'; body: PatternNode; min: number; max: number };

const lastCodePoint = 0x10ffff;
const digits: CharacterSet = [[0x30, 0x39]];
const word: CharacterSet = [...digits, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]];
const space: CharacterSet = [...'\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff']
  .map((each) => [each.charCodeAt(0), each.charCodeAt(0)] as const)
  .concat([[0x2000, 0x200a] as const]);
const lineEnds: CharacterSet = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];
const controls: Record<string, number> = { t: 9, n: 10, v: 11, f: 12, r: 13, '0': 0 };

/** Thrown for what is valid ECMAScript but not offered; its message completes "the pattern …". */
export class PatternNotOffered extends Error {}

/** @param pattern text that `new RegExp(pattern, 'u')` accepts; that check comes first, so syntax errors are not looked for */
export function parsePattern(pattern: string): PatternNode {
  const reader = new Reader(pattern);
  return reader.choice();
}

class Reader {
  readonly #text: string[];
  #at = 0;

  constructor(pattern: string) {
    this.#text = [...pattern];
  }

  choice(): PatternNode {
    const parts = [this.#sequence()];
    while (this.#take('|')) parts.push(this.#sequence());
    return parts.length === 1 ? (parts[0] as PatternNode) : { kind: 'choice', parts };
  }

  #sequence(): PatternNode {
    const parts: PatternNode[] = [];
    while (this.#at < this.#text.length && this.#peek() !== '|' && this.#peek() !== ')') parts.push(this.#term());
    return { kind: 'sequence', parts };
  }

  #term(): PatternNode {
    const body = this.#atom();
    const [min, max] = this.#quantifier();
    return min === 1 && max === 1 ? body : { kind: 'repeat', body, min, max };
  }

  #atom(): PatternNode {
    const first = this.#next();
    switch (first) {
      case '^':
        return { kind: 'empty', start: true };
      case '$':
        return { kind: 'empty', start: false };
      case '.':
        return { kind: 'set', set: complement(lineEnds) };
      case '(':
        return this.#group();
      case '[':
        return { kind: 'set', set: this.#class() };
      case '\\':
        return this.#escape();
      default:
        return { kind: 'set', set: one(first.codePointAt(0) ?? 0) };
    }
  }

  #group(): PatternNode {
    if (this.#take('?') && !this.#take(':')) {
      const named = this.#take('<') && this.#peek() !== '=' && this.#peek() !== '!';
      if (!named) throw new PatternNotOffered('uses look-around or flags; only plain groups are offered');
      while (this.#next() !== '>');
    }
    const inside = this.choice();
    this.#next();
    return inside;
  }

  #quantifier(): [min: number, max: number] {
    let range: [number, number] = [1, 1];
    if (this.#take('*')) range = [0, Infinity];
    else if (this.#take('+')) range = [1, Infinity];
    else if (this.#take('?')) range = [0, 1];
    else if (this.#take('{')) range = this.#braces();
    else return range;
    this.#take('?');
    return range;
  }

  #braces(): [number, number] {
    const min = this.#number();
    const max = this.#take(',') ? (this.#peek() === '}' ? Infinity : this.#number()) : min;
    this.#next();
    return [min, max];
  }

  #number(): number {
    let text = '';
    while (/[0-9]/.test(this.#peek())) text += this.#next();
    return Number(text);
  }

  #escape(): PatternNode {
    const name = this.#peek();
    if (/[1-9k]/.test(name)) throw new PatternNotOffered('uses a back-reference; none are offered');
    if (name === 'b' || name === 'B') {
      this.#next();
      return { kind: 'empty', start: false };
    }
    return { kind: 'set', set: this.#escapedSet() };
  }

  #class(): CharacterSet {
    const negated = this.#take('^');
    const set: (readonly [number, number])[] = [];
    while (!this.#take(']')) {
      const from = this.#classPart();
      const low = from[0]?.[0] ?? 0;
      const single = from.length === 1 && low === from[0]?.[1];
      if (single && this.#peek() === '-' && this.#text[this.#at + 1] !== ']') {
        this.#next();
        set.push([low, this.#classPart()[0]?.[1] ?? low]);
      } else set.push(...from);
    }
    return negated ? complement(set) : set;
  }

  #classPart(): CharacterSet {
    const first = this.#next();
    if (first !== '\\') return one(first.codePointAt(0) ?? 0);
    if (this.#take('b')) return one(8);
    return this.#escapedSet();
  }

  /** After the backslash. */
  #escapedSet(): CharacterSet {
    const name = this.#next();
    switch (name) {
      case 'd':
        return digits;
      case 'D':
        return complement(digits);
      case 'w':
        return word;
      case 'W':
        return complement(word);
      case 's':
        return space;
      case 'S':
        return complement(space);
      case 'p':
      case 'P':
        return propertySet(`\\${name}${this.#until('}')}`);
      case 'x':
        return one(Number.parseInt(this.#next() + this.#next(), 16));
      case 'u':
        return one(this.#codePoint());
      case 'c':
        return one((this.#next().codePointAt(0) ?? 0) % 32);
      default:
        return one(controls[name] ?? name.codePointAt(0) ?? 0);
    }
  }

  #codePoint(): number {
    if (this.#peek() === '{') return Number.parseInt(this.#until('}').slice(1, -1), 16);
    const unit = this.#unit();
    const surrogates =
      unit >= 0xd800 && unit <= 0xdbff && this.#text[this.#at] === '\\' && this.#text[this.#at + 1] === 'u';
    if (!surrogates) return unit;
    this.#at += 2;
    return (unit - 0xd800) * 0x400 + (this.#unit() - 0xdc00) + 0x10000;
  }

  #unit(): number {
    return Number.parseInt(this.#next() + this.#next() + this.#next() + this.#next(), 16);
  }

  #until(end: string): string {
    let text = '';
    do text += this.#next();
    while (!text.endsWith(end));
    return text;
  }

  #peek(): string {
    return this.#text[this.#at] ?? '';
  }

  #next(): string {
    const found = this.#text[this.#at];
    if (found === undefined) throw new PatternNotOffered('ends too early');
    this.#at += 1;
    return found;
  }

  #take(expected: string): boolean {
    if (this.#peek() !== expected) return false;
    this.#at += 1;
    return true;
  }
}

/** How many ends of ranges `masksOf` has to sort. */
export function edgeCount(sets: readonly CharacterSet[]): number {
  return new Set(sets).values().reduce((total, set) => total + 2 * set.length, 0);
}

/**
 * Writes sets as bits: the code points fall into groups that no set tells apart, each group is one bit. Two sets have a
 * character in common exactly if their bits have one.
 */
export function masksOf(sets: readonly CharacterSet[]): bigint[] {
  const distinct = [...new Set(sets)];
  const groups = groupsOf(distinct);
  const masks = new Map(distinct.map((set, id) => [set, bitsWith(groups, id)]));
  return sets.map((set) => masks.get(set) ?? 0n);
}

/** Every combination of sets (bit `id` for set `id`) that some code point is in exactly. */
function groupsOf(sets: readonly CharacterSet[]): bigint[] {
  const edges = sets
    .flatMap((set, id) =>
      set.flatMap(([low, high]) => [
        { at: low, id, step: 1 },
        { at: high + 1, id, step: -1 },
      ]),
    )
    .sort((left, right) => left.at - right.at);
  const groups = new Set<bigint>();
  const open = sets.map(() => 0);
  let inside = 0n;
  for (const [index, { at, id, step }] of edges.entries()) {
    const count = (open[id] ?? 0) + step;
    open[id] = count;
    inside = count > 0 ? inside | (1n << BigInt(id)) : inside & ~(1n << BigInt(id));
    if (edges[index + 1]?.at !== at) groups.add(inside);
  }
  return [...groups];
}

/** Bit `n` for group `n`, where the set is part of the group. */
function bitsWith(groups: readonly bigint[], id: number): bigint {
  const own = 1n << BigInt(id);
  return groups.reduce((bits, group, index) => ((group & own) === 0n ? bits : bits | (1n << BigInt(index))), 0n);
}

function one(codePoint: number): CharacterSet {
  return [[codePoint, codePoint]];
}

function complement(set: CharacterSet): CharacterSet {
  const rest: (readonly [number, number])[] = [];
  let next = 0;
  for (const [low, high] of [...set].sort((a, b) => a[0] - b[0])) {
    if (low > next) rest.push([next, low - 1]);
    next = Math.max(next, high + 1);
  }
  return next > lastCodePoint ? rest : [...rest, [next, lastCodePoint]];
}

/** A few hundred properties exist, so what this keeps is bounded; finding one set takes some 5 ms. */
const propertySets = new Map<string, CharacterSet>();

function propertySet(escape: string): CharacterSet {
  const set = propertySets.get(escape) ?? findPropertySet(escape);
  propertySets.set(escape, set);
  return set;
}

/** Exact below U+10000; above it taken as one, which can only make two sets overlap that do not. */
function findPropertySet(escape: string): CharacterSet {
  const property = new RegExp(`^${escape}$`, 'u');
  const set: [number, number][] = [];
  for (let codePoint = 0; codePoint <= 0xffff; codePoint += 1) {
    if (!property.test(String.fromCodePoint(codePoint))) continue;
    const last = set.at(-1);
    if (last !== undefined && last[1] === codePoint - 1) last[1] = codePoint;
    else set.push([codePoint, codePoint]);
  }
  return [...set, [0x10000, lastCodePoint]];
}
