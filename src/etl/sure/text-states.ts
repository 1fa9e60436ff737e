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
