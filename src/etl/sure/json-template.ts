import { isUtf8 } from 'node:buffer';
import type { SureRows } from './sure-rows.ts';
import type { SureCheck } from './sure-value.ts';

/** A member of the records, in the order of the columns. */
export interface TemplateMember {
  isText: boolean;
  nullAllowed: boolean;
  /** Escaped quotes and backslashes change nothing in what is asked of the text. */
  mayDouble: boolean;
  check: SureCheck;
}

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
/** `null` */
const nullWord = 0x6e756c6c;

const ordinary = 0;
const beyondAscii = 1;
const special = 2;
/** Of each byte of a text. */
const kinds = new Uint8Array(256).map((_each, byte) =>
  byte < 0x20 || byte === quote || byte === backslash ? special : byte > 0x7f ? beyondAscii : ordinary,
);
/** Of each byte of a bare word: whether it is still one. */
const inWord = new Uint8Array(256).map((_each, byte) => (byte > 0x20 && byte !== comma && byte !== 0x7d ? 1 : 0));

/**
 * What stands between the values of a record that is known to be good. What wrote the records nearly always writes them all alike, so that a record
 * with the same between its values has the same members: it is compared four bytes at a time, and only the values are walked.
 */
export class JsonTemplate {
  readonly #members: readonly TemplateMember[];
  readonly #between: readonly Between[];

  /** @param between before each value, and behind the last one */
  constructor(members: readonly TemplateMember[], between: readonly Uint8Array[]) {
    this.#members = members;
    this.#between = between.map((bytes) => new Between(bytes));
  }

  /**
   * Writes the record's cells behind its number.
   *
   * @returns false: it is another one, or not surely good; what was written is to be taken back
   */
  take(rows: SureRows, source: Buffer, start: number, end: number): boolean {
    const members = this.#members;
    const { buffer: out } = rows;
    const view = viewOf(source);
    let used = rows.used;
    let at = start;
    let bits = 0;
    for (let place = 0; place < members.length; place += 1) {
      const { isText, nullAllowed, mayDouble, check } = members[place] as TemplateMember;
      const before = this.#between[place] as Between;
      if (!before.isAt(view, at, end)) return false;
      at += before.length;
      out[used++] = comma;
      if (source[at] !== quote) {
        const from = at;
        while (inWord[source[at] as number] === 1) out[used++] = source[at++] as number;
        if (source[from] === 0x6e) {
          if (!nullAllowed || at - from !== 4 || view.getUint32(from) !== nullWord) return false;
          used -= 4;
        } else if (isText || !check(source, from, at)) return false;
        continue;
      }
      if (!isText) return false;
      out[used++] = quote;
      const from = (at += 1);
      for (;;) {
        const byte = source[at] as number;
        const kind = kinds[byte] as number;
        if (kind !== special) {
          bits |= kind;
          out[used++] = byte;
          at += 1;
        } else if (byte === backslash && mayDouble) {
          const escaped = source[at + 1] as number;
          if (escaped === quote) out[used++] = quote;
          else if (escaped !== backslash) return false;
          out[used++] = escaped;
          at += 2;
        } else if (byte === quote) break;
        else return false;
        if (at >= end) return false;
      }
      if (!check(source, from, at)) return false;
      out[used++] = quote;
      at += 1;
    }
    const behind = this.#between[members.length] as Between;
    if (at + behind.length !== end || !behind.isAt(view, at, end)) return false;
    if (bits !== 0 && !isUtf8(source.subarray(start, end))) return false;
    rows.used = used;
    return true;
  }
}

/** Bytes that are compared four at a time. */
class Between {
  readonly length: number;
  readonly #words: Uint32Array;
  readonly #last: Uint8Array;

  constructor(bytes: Uint8Array) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.length = bytes.length;
    this.#words = Uint32Array.from({ length: bytes.length >> 2 }, (_each, at) => view.getUint32(at * 4));
    this.#last = bytes.slice(bytes.length & ~3);
  }

  isAt(view: DataView, start: number, end: number): boolean {
    if (start + this.length > end) return false;
    const words = this.#words;
    let at = start;
    for (let word = 0; word < words.length; word += 1, at += 4) if (view.getUint32(at) !== words[word]) return false;
    const last = this.#last;
    for (let byte = 0; byte < last.length; byte += 1) if (view.getUint8(at + byte) !== last[byte]) return false;
    return true;
  }
}

let viewed: Buffer | null = null;
let view: DataView = new DataView(new ArrayBuffer(0));

/** The same memory as words. A splitter keeps its buffer for many records. */
function viewOf(source: Buffer): DataView {
  if (source !== viewed) {
    viewed = source;
    view = new DataView(source.buffer, source.byteOffset, source.length);
  }
  return view;
}
