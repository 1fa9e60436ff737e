import type { TextStates } from './text-states.ts';

/** How a walk through a field ends: what is left of the record is another's to judge, or a delimiter or a line end came. */
export const refused = 0;
export const delimiterEnd = 1;
export const lineEnd = 2;
export const returnEnd = 3;
const firstState = 4;
/** A table takes 512 bytes a state: those of a record stay near the processor. */
const stateCountMax = 2_000;

const [lineFeed, carriageReturn, comma, copyQuote] = [10, 13, 44, 34];

export interface FieldText {
  states: TextStates;
  mayBeEmpty: boolean;
  /** Of a text that may be anything: quotes within it, each written twice, change nothing in what is asked of it. */
  mayDouble: boolean;
}

interface FieldDialect {
  delimiter: number;
  /** -1: none. */
  quote: number;
}

/**
 * One table for the fields of delimited text: a field's beginning, a step a byte, and how it ends. Where both are those of COPY, quotes around a field
 * are part of it.
 */
export class FieldAutomaton {
  readonly steps: Uint16Array;
  /** Where each field begins. */
  readonly starts: Uint16Array;
  /** A field's own states did not fit: it ends wherever its text does, and is to be checked. */
  readonly unchecked: readonly boolean[];

  constructor(fields: readonly FieldText[], anything: TextStates, dialect: FieldDialect) {
    const table = new FieldTable(dialect);
    const unchecked: boolean[] = [];
    const starts = fields.map((field) => {
      const start = table.add(field);
      unchecked.push(start === null);
      return start ?? table.add({ ...field, states: anything, mayDouble: false }, true) ?? refused;
    });
    this.steps = table.finish();
    this.starts = Uint16Array.from(starts);
    this.unchecked = unchecked;
  }
}

class FieldTable {
  readonly #dialect: FieldDialect;
  readonly #steps: number[] = new Array<number>(firstState * 256).fill(refused);
  readonly #known = new Map<TextStates, Map<string, number>>();

  constructor(dialect: FieldDialect) {
    this.#dialect = dialect;
  }

  finish(): Uint16Array {
    return Uint16Array.from(this.#steps);
  }

  /** @returns where the field begins; null: there is no room for it */
  add({ states, mayBeEmpty, mayDouble }: FieldText, always = false): number | null {
    const key = `${String(mayBeEmpty)} ${String(mayDouble)}`;
    const known = this.#known.get(states)?.get(key);
    if (known !== undefined) return known;
    if (!always && this.#count + 2 * states.count + 4 > stateCountMax) return null;
    const start = this.#build(states, { mayBeEmpty, mayDouble });
    this.#known.set(states, (this.#known.get(states) ?? new Map<string, number>()).set(key, start));
    return start;
  }

  get #count(): number {
    return this.#steps.length / 256;
  }

  #build(states: TextStates, { mayBeEmpty, mayDouble }: Omit<FieldText, 'states'>): number {
    const { delimiter, quote } = this.#dialect;
    const plain = this.#place(states);
    for (let state = 1; state < states.count; state += 1) this.#end(plain(state), states.accepts(state));
    const start = this.#copy(plain(states.start));
    this.#end(start, mayBeEmpty);
    if (delimiter !== comma || quote !== copyQuote) return start;
    const quoted = this.#place(states);
    const closed = this.#add();
    this.#end(closed, true);
    // The quotes of no text at all would have to go: to COPY they are a text.
    const opened = this.#copy(quoted(states.start));
    this.#set(start, quote, opened);
    for (let state = 1; state < states.count; state += 1) {
      if (states.accepts(state)) this.#set(quoted(state), quote, closed);
    }
    if (!mayDouble) return start;
    this.#set(closed, quote, quoted(states.start));
    const openedTwice = this.#add();
    this.#set(openedTwice, quote, quoted(states.start));
    this.#set(opened, quote, openedTwice);
    return start;
  }

  /** Its steps; no text holds a line end, and none of the bytes that would end or quote a field outside quotes is in one. */
  #place(states: TextStates): (state: number) => number {
    const base = this.#count - 1;
    const place = (state: number): number => (state === 0 ? refused : base + state);
    for (let state = 1; state < states.count; state += 1) {
      for (let byte = 0; byte < 256; byte += 1) this.#steps.push(place(states.step(state, byte)));
    }
    for (let state = 1; state < states.count; state += 1) {
      for (const byte of [0, lineFeed, carriageReturn, copyQuote]) this.#set(place(state), byte, refused);
      if (this.#dialect.quote !== -1) this.#set(place(state), this.#dialect.quote, refused);
    }
    return place;
  }

  /** What ends a field does so here, or refuses it. */
  #end(state: number, accepted: boolean): void {
    // A comma that is text would end COPY's field.
    this.#set(state, comma, refused);
    this.#set(state, this.#dialect.delimiter, accepted ? delimiterEnd : refused);
    this.#set(state, lineFeed, accepted ? lineEnd : refused);
    this.#set(state, carriageReturn, accepted ? returnEnd : refused);
  }

  #add(): number {
    for (let byte = 0; byte < 256; byte += 1) this.#steps.push(refused);
    return this.#count - 1;
  }

  #copy(state: number): number {
    this.#steps.push(...this.#steps.slice(state * 256, state * 256 + 256));
    return this.#count - 1;
  }

  #set(state: number, byte: number, to: number): void {
    this.#steps[state * 256 + byte] = to;
  }
}
