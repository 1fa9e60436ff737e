import { refused, StateTable } from './state-table.ts';
import { anyText, type TextStates } from './text-states.ts';

/** How a walk through a text ends where it is not refused: behind its closing quote, without and with escapes in it. */
export const plainEnd = 1;
export const escapedEnd = 2;
const firstState = 3;

const [quote, backslash] = [0x22, 0x5c];
/** No text of a JSON document has a control character in it (RFC 8259, section 7). */
const controls = Array.from({ length: 0x20 }, (_each, byte) => byte);

export interface JsonText {
  states: TextStates;
  /** Of a text that may be anything: escaped quotes and backslashes change nothing in what is asked of it. */
  mayDouble: boolean;
}

/** One table for the texts of JSON records: a step a byte from behind the opening quote on. Other escapes than those are another's to read. */
export class JsonTexts {
  readonly steps: Uint16Array;
  /** Where each text begins; `refused`: the member is none. */
  readonly starts: Uint16Array;
  /** A text's own states did not fit: it ends wherever its closing quote stands, and is to be checked. */
  readonly unchecked: readonly boolean[];

  /** @param texts null: the member is no text */
  constructor(texts: readonly (JsonText | null)[]) {
    const table = new StateTable(firstState);
    const anything = place(table, { states: anyText(0), mayDouble: false });
    const unchecked: boolean[] = [];
    const starts = texts.map((text) => {
      const fits = text === null || table.hasRoomFor(2 * text.states.count + 1);
      unchecked.push(!fits);
      if (text === null) return refused;
      return fits ? place(table, text) : anything;
    });
    this.steps = table.finish();
    this.starts = Uint16Array.from(starts);
    this.unchecked = unchecked;
  }
}

/** @returns where the text begins */
function place(table: StateTable, { states, mayDouble }: JsonText): number {
  const plain = placeUntil(table, states, plainEnd);
  if (!mayDouble) return plain;
  const behind = placeUntil(table, states, escapedEnd);
  const escape = table.add();
  for (const byte of [quote, backslash]) table.set(escape, byte, behind);
  for (const start of [plain, behind]) table.set(start, backslash, escape);
  return plain;
}

function placeUntil(table: StateTable, states: TextStates, end: number): number {
  const placed = table.place(states, [...controls, backslash]);
  for (let state = 1; state < states.count; state += 1)
    table.set(placed(state), quote, states.accepts(state) ? end : refused);
  return placed(states.start);
}
