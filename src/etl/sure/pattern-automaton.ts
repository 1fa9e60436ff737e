import { type AnchoredPiece, ByteAutomaton, type Piece, setOf } from './byte-automaton.ts';

const repeatMax = 1_000;

/**
 * An automaton for an ECMAScript pattern (flag `u`) over ASCII, in time that depends on the text alone; null where the pattern holds more
 * than characters, classes, groups, choices, repeats, and anchors at its ends.
 */
export function patternAutomaton(pattern: string): ByteAutomaton | null {
  try {
    new RegExp(pattern, 'u');
  } catch {
    return null;
  }
  const reader = new PatternReader(pattern);
  const choices = reader.choices();
  return choices === null ? null : ByteAutomaton.of(choices);
}

class PatternReader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  choices(): AnchoredPiece[] | null {
    const found: AnchoredPiece[] = [];
    do {
      const atStart = this.#takes('^');
      const piece = this.#sequence();
      if (piece === null) return null;
      const atEnd = this.#takes('$');
      found.push({ piece, atStart, atEnd });
    } while (this.#takes('|'));
    return this.#at === this.#text.length ? found : null;
  }

  #takes(text: string): boolean {
    if (!this.#text.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  get #letter(): string {
    return this.#text[this.#at] ?? '';
  }

  #sequence(): Piece | null {
    const of: Piece[] = [];
    while (!['', '|', ')', '$'].includes(this.#letter)) {
      const atom = this.#atom();
      const repeated = atom === null ? null : this.#repeated(atom);
      if (repeated === null) return null;
      of.push(repeated);
    }
    return { is: 'sequence', of };
  }

  #atom(): Piece | null {
    if (this.#takes('(?:') || (!this.#text.startsWith('(?', this.#at) && this.#takes('('))) return this.#group();
    if (this.#takes('.')) return setPiece(without(setOf(10, 13)));
    if (this.#takes('[')) return this.#class();
    const set = this.#character();
    return set && setPiece(set);
  }

  #group(): Piece | null {
    const of: Piece[] = [];
    do {
      const piece = this.#sequence();
      if (piece === null) return null;
      of.push(piece);
    } while (this.#takes('|'));
    return this.#takes(')') ? { is: 'choice', of } : null;
  }

  #class(): Piece | null {
    const negated = this.#takes('^');
    const set = setOf();
    while (!this.#takes(']')) {
      const from = this.#character(true);
      if (from === null) return null;
      let members = from;
      if (this.#letter === '-' && this.#text[this.#at + 1] !== ']') {
        this.#at += 1;
        const to = this.#character(true);
        const range = to && rangeOf(from, to);
        if (range === null) return null;
        members = range;
      }
      for (const [byte, is] of members.entries()) if (is === 1) set[byte] = 1;
    }
    return setPiece(negated ? without(set) : set);
  }

  /** @returns null: not one that is known here */
  #character(inClass = false): Uint8Array | null {
    const letter = this.#letter;
    this.#at += 1;
    if (letter === '\\') return this.#escape();
    const code = letter.charCodeAt(0);
    if (letter === '' || code >= 128) return null;
    if (!inClass && '^$*+?()[]{}|'.includes(letter)) return null;
    return setOf(code);
  }

  #escape(): Uint8Array | null {
    const letter = this.#letter;
    this.#at += 1;
    if (letter === 'd') return digits;
    if (letter === 'D') return without(digits);
    if (letter === 'w') return word;
    if (letter === 'W') return without(word);
    return letter !== '' && '^$\\.*+?()[]{}|/-'.includes(letter) ? setOf(letter.charCodeAt(0)) : null;
  }

  #repeated(of: Piece): Piece | null {
    let counts: [number, number] | null = null;
    if (this.#takes('*')) counts = [0, Infinity];
    else if (this.#takes('+')) counts = [1, Infinity];
    else if (this.#takes('?')) counts = [0, 1];
    else if (this.#letter === '{') {
      const [whole = '', min = '', comma, max = ''] = /^\{(\d+)(,?)(\d*)\}/.exec(this.#text.slice(this.#at)) ?? [];
      if (whole === '' || Number(min) > repeatMax || Number(max) > repeatMax) return null;
      this.#at += whole.length;
      counts = [Number(min), comma === '' ? Number(min) : max === '' ? Infinity : Number(max)];
    }
    if (counts === null) return of;
    // A lazy repeat matches the same texts.
    this.#takes('?');
    return { is: 'repeat', of, min: counts[0], max: counts[1] };
  }
}

const digits = setOf(...Buffer.from('0123456789'));
const word = setOf(...Buffer.from('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz'));

const setPiece = (bytes: Uint8Array): Piece => ({ is: 'set', bytes });
const without = (set: Uint8Array): Uint8Array => set.map((is) => 1 - is);

/** Of two single characters; null: one is a class. */
function rangeOf(from: Uint8Array, to: Uint8Array): Uint8Array | null {
  const single = (set: Uint8Array): boolean => set.reduce((sum, is) => sum + is, 0) === 1;
  if (!single(from) || !single(to)) return null;
  const set = setOf();
  return set.fill(1, from.indexOf(1), to.indexOf(1) + 1);
}
