import type { ByteAutomaton } from './byte-automaton.ts';

/** States that walk a text byte by byte, in UTF-8 that is known to be valid. State 0 is where nothing can become of it any more. */
export interface TextStates {
  readonly count: number;
  readonly start: number;
  readonly step: (state: number, byte: number) => number;
  readonly accepts: (state: number) => boolean;
}

/** Texts that an automaton accepts. */
export function statesOf(automaton: ByteAutomaton): TextStates {
  return {
    count: automaton.stateCount,
    // One that accepts nothing has no other state than the dead one.
    start: Math.min(1, automaton.stateCount - 1),
    step: (state, byte) => automaton.step(state, byte),
    accepts: (state) => automaton.acceptsAt(state),
  };
}

const anyTexts = new Map<number, TextStates>();

/** Every text of so many characters or more. The same object each time, so that its states need to be there but once. */
export function anyText(minLength: number): TextStates {
  const known = anyTexts.get(minLength);
  if (known !== undefined) return known;
  const states: TextStates = {
    count: minLength + 2,
    start: 1,
    // A byte that continues a character counts nothing.
    step: (state, byte) =>
      state === 0 || byte === 0 ? 0 : (byte & 0xc0) === 0x80 ? state : Math.min(state + 1, minLength + 1),
    accepts: (state) => state === minLength + 1,
  };
  anyTexts.set(minLength, states);
  return states;
}

/** States as tables: a step a byte. No text of theirs holds a NUL, which PostgreSQL keeps nowhere, whatever a pattern says. */
export class StateWalk {
  readonly #start: number;
  readonly #steps: Uint16Array;
  readonly #accepting: Uint8Array;

  constructor({ count, start, step, accepts }: TextStates) {
    this.#start = start;
    this.#steps = new Uint16Array(count * 256).map((_each, at) => ((at & 0xff) === 0 ? 0 : step(at >> 8, at & 0xff)));
    this.#accepting = new Uint8Array(count).map((_each, state) => (accepts(state) ? 1 : 0));
  }

  accepts(bytes: Uint8Array, start: number, end: number): boolean {
    const steps = this.#steps;
    let state = this.#start;
    for (let at = start; at < end && state !== 0; at += 1)
      state = steps[(state << 8) | (bytes[at] as number)] as number;
    return this.#accepting[state] === 1;
  }
}
