/**
 * What stands between the values of a record that is known to be good. What wrote the records nearly always writes them all alike, so that a
 * record with the same between its values has the same members: it is compared four bytes at a time, and only the values are walked.
 */
export interface JsonTemplate {
  /** In the order of the record. */
  members: readonly { member: number; before: Between }[];
  behind: Between;
}

/** @param values where each member of the record has its value; the order is the record's */
export function templateOf(
  source: Uint8Array,
  record: { start: number; end: number },
  values: readonly { member: number; start: number; end: number }[],
): JsonTemplate {
  let at = record.start;
  const members = values.map(({ member, start, end }) => {
    const before = new Between(source.slice(at, start));
    at = end;
    return { member, before };
  });
  return { members, behind: new Between(source.slice(at, record.end)) };
}

/** Bytes that are compared four at a time. */
export class Between {
  readonly #length: number;
  readonly #words: Uint32Array;
  readonly #last: Uint8Array;

  constructor(bytes: Uint8Array) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#length = bytes.length;
    this.#words = Uint32Array.from({ length: bytes.length >> 2 }, (_each, at) => view.getUint32(at * 4));
    this.#last = bytes.slice(bytes.length & ~3);
  }

  /** @returns the place behind them; -1: something else stands there */
  endAt(view: DataView, start: number, end: number): number {
    if (start + this.#length > end) return -1;
    const [words, last] = [this.#words, this.#last];
    let at = start;
    for (let word = 0; word < words.length; word += 1, at += 4) if (view.getUint32(at) !== words[word]) return -1;
    for (let byte = 0; byte < last.length; byte += 1, at += 1) if (view.getUint8(at) !== last[byte]) return -1;
    return at;
  }
}
