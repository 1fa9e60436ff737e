import type { Place, Position, Survey } from './reader.ts';

/** Places for a sample that are kept at most; once a source has so many records, half as many at least. */
const placeCountMax = 256;
/** Records between the first places; doubled whenever there are too many of them. */
const firstStep = 32;
/** The last place stands at most so many records before the end. */
export const tailStep = 512;

/**
 * What a survey notes on its way: where ranges may begin, and places for a sample that are spread evenly over a source whose
 * length nobody knows before its end. Of the same source both are always the same.
 */
export class SurveyMarks {
  readonly #markEvery: number;
  readonly #marks: Place[] = [];
  #step = firstStep;
  #places: Place[] = [];
  #tail: Place | null = null;

  /** @param markEvery records between marks for ranges */
  constructor(markEvery: number) {
    this.#markEvery = markEvery;
  }

  /** Marks of a source in which a record's number tells its place. */
  static computed(recordsTotal: number, markEvery: number, positionOf: (record: number) => Position): Survey {
    const marks = new SurveyMarks(markEvery);
    while (recordsTotal / marks.#step > placeCountMax) marks.#step *= 2;
    for (let record = 0; record < recordsTotal; record += marks.untilNext(record)) {
      marks.add(positionOf(record), record);
    }
    return marks.survey(recordsTotal);
  }

  /** Whether the place of the record behind so many is to be told. */
  wants(record: number): boolean {
    return record % this.#markEvery === 0 || record % this.#step === 0 || record % tailStep === 0;
  }

  /** Records from one that was told to the next that is to be told. */
  untilNext(record: number): number {
    return Math.min(...[this.#markEvery, this.#step, tailStep].map((every) => every - (record % every)));
  }

  /** @param record records before it */
  add(position: Position, record: number): void {
    const place = { position, record };
    if (record % this.#markEvery === 0) this.#marks.push(place);
    if (record % tailStep === 0) this.#tail = place;
    if (record % this.#step !== 0) return;
    this.#places.push(place);
    if (this.#places.length <= placeCountMax) return;
    this.#step *= 2;
    this.#places = this.#places.filter((kept) => kept.record % this.#step === 0);
  }

  survey(recordsTotal: number): Survey {
    const last = this.#places.at(-1);
    const places = this.#tail && last && this.#tail.record > last.record ? [...this.#places, this.#tail] : this.#places;
    return { recordsTotal, marks: this.#marks, places };
  }
}
