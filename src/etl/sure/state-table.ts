import type { TextStates } from './text-states.ts';

/** Where nothing can become of a text any more. */
export const refused = 0;
/** A table takes 512 bytes a state: those of a record stay near the processor. */
const stateCountMax = 2_000;

/** States of many texts in one table: a step a byte, whichever text it is of. The first ones are ends: nothing leads on from them. */
export class StateTable {
  readonly #steps: number[];

  constructor(endCount: number) {
    this.#steps = new Array<number>(endCount * 256).fill(refused);
  }

  finish(): Uint16Array {
    return Uint16Array.from(this.#steps);
  }

  hasRoomFor(stateCount: number): boolean {
    return this.#count + stateCount <= stateCountMax;
  }

  get #count(): number {
    return this.#steps.length / 256;
  }

  /** A state from which every byte is refused. */
  add(): number {
    for (let byte = 0; byte < 256; byte += 1) this.#steps.push(refused);
    return this.#count - 1;
  }

  copy(state: number): number {
    this.#steps.push(...this.#steps.slice(state * 256, state * 256 + 256));
    return this.#count - 1;
  }

  set(state: number, byte: number, to: number): void {
    this.#steps[state * 256 + byte] = to;
  }

  /** @param never bytes that no such text holds. @returns where each of its states stands */
  place(states: TextStates, never: readonly number[]): (state: number) => number {
    const base = this.#count - 1;
    const place = (state: number): number => (state === 0 ? refused : base + state);
    for (let state = 1; state < states.count; state += 1) {
      for (let byte = 0; byte < 256; byte += 1) this.#steps.push(place(states.step(state, byte)));
    }
    for (let state = 1; state < states.count; state += 1)
      for (const byte of never) this.set(place(state), byte, refused);
    return place;
  }
}
