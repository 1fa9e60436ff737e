import { refused, StateTable } from './state-table.ts';
import type { TextStates } from './text-states.ts';

/** How a walk through a field ends where it is not refused: a delimiter or a line end came. */
export const delimiterEnd = 1;
export const lineEnd = 2;
export const returnEnd = 3;
const firstState = 4;

const [lineFeed, carriageReturn] = [10, 13];

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

/** One table for the fields of delimited text: a field's beginning, a step a byte, and how it ends. Quotes around a field are part of it. */
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
  readonly #table = new StateTable(firstState);
  readonly #known = new Map<TextStates, Map<string, number>>();
  /** No text holds a line end, nor a quote that is not written twice. */
  readonly #never: readonly number[];

  constructor(dialect: FieldDialect) {
    this.#dialect = dialect;
    this.#never = [0, lineFeed, carriageReturn, ...(dialect.quote === -1 ? [] : [dialect.quote])];
  }

  finish(): Uint16Array {
    return this.#table.finish();
  }

  /** @returns where the field begins; null: there is no room for it */
  add({ states, mayBeEmpty, mayDouble }: FieldText, always = false): number | null {
    const key = `${String(mayBeEmpty)} ${String(mayDouble)}`;
    const known = this.#known.get(states)?.get(key);
    if (known !== undefined) return known;
    if (!always && !this.#table.hasRoomFor(2 * states.count + 4)) return null;
    const start = this.#build(states, { mayBeEmpty, mayDouble });
    this.#known.set(states, (this.#known.get(states) ?? new Map<string, number>()).set(key, start));
    return start;
  }

  #build(states: TextStates, { mayBeEmpty, mayDouble }: Omit<FieldText, 'states'>): number {
    const { quote } = this.#dialect;
    const table = this.#table;
    const plain = table.place(states, this.#never);
    for (let state = 1; state < states.count; state += 1) this.#end(plain(state), states.accepts(state));
    const start = table.copy(plain(states.start));
    this.#end(start, mayBeEmpty);
    if (quote === -1) return start;
    const quoted = table.place(states, this.#never);
    const closed = table.add();
    this.#end(closed, true);
    // No text at all between quotes is another's to read: it may stand for none.
    const opened = table.copy(quoted(states.start));
    table.set(start, quote, opened);
    for (let state = 1; state < states.count; state += 1) {
      if (states.accepts(state)) table.set(quoted(state), quote, closed);
    }
    if (!mayDouble) return start;
    table.set(closed, quote, quoted(states.start));
    const openedTwice = table.add();
    table.set(openedTwice, quote, quoted(states.start));
    table.set(opened, quote, openedTwice);
    return start;
  }

  /** What ends a field does so here, or refuses it. */
  #end(state: number, accepted: boolean): void {
    const table = this.#table;
    table.set(state, this.#dialect.delimiter, accepted ? delimiterEnd : refused);
    table.set(state, lineFeed, accepted ? lineEnd : refused);
    table.set(state, carriageReturn, accepted ? returnEnd : refused);
  }
}
