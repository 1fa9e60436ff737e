import { FluxError } from '../errors.ts';

/** How many an agency has under way in this process at once. */
export class AtOnce {
  readonly #max: number;
  readonly #refusal: string;
  readonly #counts = new Map<string, number>();

  /** @param refusal what one too many is told */
  constructor(max: number, refusal: string) {
    this.#max = max;
    this.#refusal = refusal;
  }

  /** @returns what leaves again, once @throws LIMIT_EXCEEDED */
  enter(agency: string): () => void {
    const count = this.#counts.get(agency) ?? 0;
    if (count >= this.#max) throw new FluxError('LIMIT_EXCEEDED', this.#refusal);
    this.#counts.set(agency, count + 1);
    let isIn = true;
    return () => {
      if (!isIn) return;
      isIn = false;
      const left = (this.#counts.get(agency) ?? 1) - 1;
      if (left > 0) this.#counts.set(agency, left);
      else this.#counts.delete(agency);
    };
  }
}
