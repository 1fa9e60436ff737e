import { isUtf8 } from 'node:buffer';
import type { OutputType } from '../engine-types.ts';
import type { ContractField, ContractModel } from '../ingest/contract-model.ts';
import type { CopyRows } from './copy-rows.ts';
import { type JsonTemplate, templateOf } from './json-template.ts';
import { escapedEnd, JsonTexts } from './json-texts.ts';
import { refused } from './state-table.ts';
import { sureRead, type SureRead, type SureType, type SureValue, sureValue } from './sure-value.ts';

/** A member that a record may have, and the column that it is. */
interface SureMember {
  name: Buffer;
  required: boolean;
  nullAllowed: boolean;
  kind: ContractField['kind'];
  value: SureValue;
}

/** Of so many records that are written in another way than the one before, one is taken as what the next ones are compared with. */
const learnEvery = 64;

const [quote, comma, colon, openObject, closeObject] = [0x22, 0x2c, 0x3a, 0x7b, 0x7d];
/** `null` */
const nullWord = 0x6e756c6c;
/** Of each byte of a bare word: whether it is still one. */
const inWord = new Uint8Array(256).map((_each, byte) =>
  byte > 0x20 && byte !== comma && byte !== closeObject ? 1 : 0,
);

/** How a member stands in the record at hand. A text is said by how its walk ended. */
const [absent, isNull, isWord] = [0, escapedEnd + 1, escapedEnd + 2];

/**
 * Takes JSON records that surely meet their contract to COPY: flat ones with known members, whose texts have no escapes but doubled ones and whose
 * numbers are written plainly. Ajv and DuckDB would read, judge and print each of them for ten times the price.
 */
export class SureJson {
  readonly rows: CopyRows;
  readonly #members: readonly SureMember[];
  readonly #byName: ReadonlyMap<string, number>;
  readonly #steps: Uint16Array;
  readonly #isText: Uint8Array;
  readonly #textStarts: Uint16Array;
  /** Of each member: what is asked of its text, or of its word, beyond the walk. */
  readonly #reads: readonly (SureRead | null)[];
  readonly #types: readonly SureType[];
  /** Of each member in the record at hand: where its value stands, with its quotes, in which form, and the number that it stands for. */
  readonly #starts: Int32Array;
  readonly #ends: Int32Array;
  readonly #forms: Uint8Array;
  readonly #numbers: Float64Array;
  /** All bytes of its texts. */
  #bits = 0;
  /** The member that came at each place of the record before: whatever wrote the records nearly always keeps to one order. */
  readonly #order: Int32Array;
  #template: JsonTemplate | null = null;
  #others = 0;

  private constructor(rows: CopyRows, members: readonly SureMember[]) {
    this.rows = rows;
    const texts = new JsonTexts(members.map(({ kind, value }) => (kind === 'string' ? value : null)));
    this.#members = members;
    this.#byName = new Map(members.map(({ name }, at) => [name.toString('latin1'), at]));
    this.#steps = texts.steps;
    this.#isText = Uint8Array.from(members, ({ kind }) => (kind === 'string' ? 1 : 0));
    this.#textStarts = texts.starts;
    this.#reads = members.map(({ kind, value }, at) =>
      kind === 'string' && !texts.unchecked[at] ? value.read : sureRead(value),
    );
    this.#types = members.map(({ value }) => value.type);
    this.#starts = new Int32Array(members.length);
    this.#ends = new Int32Array(members.length);
    this.#forms = new Uint8Array(members.length);
    this.#numbers = new Float64Array(members.length);
    this.#order = Int32Array.from(members, (_each, at) => at);
  }

  /**
   * @param types of the columns that take the fields
   * @returns null: of some member, or of the whole, nothing is ever sure
   */
  static of({ fields, fallbacks }: ContractModel, types: readonly OutputType[], rows: CopyRows): SureJson | null {
    if (fallbacks.length > 0) return null;
    const members: SureMember[] = [];
    for (const [at, field] of fields.entries()) {
      const [name, ...inner] = field.path;
      const { kind, required, nullAllowed } = field;
      const value = sureValue(field);
      if (name === undefined || inner.length > 0 || value === null || value.type !== types[at]) return null;
      // Names are compared as they are written, and the source may write such a one, or one that only looks so, with escapes.
      if (JSON.stringify(name) !== `"${name}"`) return null;
      members.push({ name: Buffer.from(name, 'utf8'), required, nullAllowed, kind, value });
    }
    return new SureJson(rows, members);
  }

  /** @param source `[start, end)` is one record. @returns whether the row is written */
  take(recordNo: number, source: Buffer, start: number, end: number): boolean {
    this.#forms.fill(absent);
    this.#bits = 0;
    const isSure = this.#walk(source, start, end) && (this.#bits <= 0x7f || isUtf8(source.subarray(start, end)));
    if (isSure) this.#write(recordNo, source, end - start);
    return isSure;
  }

  #walk(source: Buffer, start: number, end: number): boolean {
    if (this.#template === null) return this.#walkNamed(source, { start, at: start, end, place: 0 });
    const { members, behind } = this.#template;
    const view = viewOf(source);
    let at = start;
    let place = 0;
    for (; place < members.length; place += 1) {
      const { member, before } = members[place] as JsonTemplate['members'][number];
      const next = before.endAt(view, at, end);
      if (next === -1) break;
      at = this.#value(member, source, next);
      if (at === -1) return false;
    }
    if (place === members.length && behind.endAt(view, at, end) === end) return true;
    return this.#walkNamed(source, { start, at, end, place });
  }

  /** Walks the members of a record by their names, from the one at a place on. @param at behind those before it */
  #walkNamed(
    source: Buffer,
    { start, at: from, end, place: first }: { start: number; at: number; end: number; place: number },
  ): boolean {
    let at = from;
    for (let place = first; ; place += 1) {
      at = blanksEnd(source, at, end);
      if (at >= end) return false;
      const byte = source[at];
      if (place > 0 && byte === closeObject) break;
      if (byte !== (place === 0 ? openObject : comma)) return false;
      at = blanksEnd(source, at + 1, end);
      if (at >= end || source[at] !== quote) return false;
      const member = this.#member(source, at + 1, { end, place });
      if (member === -1 || this.#forms[member] !== absent) return false;
      at = blanksEnd(source, at + 2 + (this.#members[member] as SureMember).name.length, end);
      if (at >= end || source[at] !== colon) return false;
      at = this.#value(member, source, blanksEnd(source, at + 1, end));
      if (at === -1) return false;
    }
    if (blanksEnd(source, at + 1, end) !== end || !this.#allThere()) return false;
    if (this.#others % learnEvery === 0) this.#learn(source, start, end);
    this.#others += 1;
    return true;
  }

  #learn(source: Buffer, start: number, end: number): void {
    const values = this.#members.flatMap((_each, member) =>
      this.#forms[member] === absent
        ? []
        : [{ member, start: this.#starts[member] as number, end: this.#ends[member] as number }],
    );
    values.sort((one, other) => one.start - other.start);
    this.#template = templateOf(source, { start, end }, values);
  }

  #allThere(): boolean {
    for (let at = 0; at < this.#members.length; at += 1)
      if (this.#forms[at] === absent && this.#members[at]?.required) return false;
    return true;
  }

  /** @param at behind the quote before its name. @returns -1: not one that is known */
  #member(source: Buffer, at: number, { end, place }: { end: number; place: number }): number {
    const likely = this.#order[place];
    if (likely === undefined) return -1;
    if (isAt((this.#members[likely] as SureMember).name, source, at, end)) return likely;
    const closing = source.indexOf(quote, at);
    if (closing === -1 || closing >= end) return -1;
    const member = this.#byName.get(source.toString('latin1', at, closing)) ?? -1;
    if (member !== -1) this.#order[place] = member;
    return member;
  }

  /**
   * A value that does not close may lead out of the record: whoever goes on compares the place with its end.
   *
   * @returns the place behind the value; -1: it is not surely good
   */
  #value(member: number, source: Buffer, start: number): number {
    const read = this.#reads[member] as SureRead | null;
    this.#starts[member] = start;
    let at = start;
    if (source[at] === quote) {
      const steps = this.#steps;
      let state = this.#textStarts[member] as number;
      if (state === refused) return -1;
      let bits = 0;
      do {
        at += 1;
        const byte = source[at] as number;
        bits |= byte;
        state = steps[(state << 8) | byte] as number;
      } while (state > escapedEnd);
      if (state === refused) return -1;
      if (read !== null && !this.#read(read, member, source, start + 1, at)) return -1;
      this.#bits |= bits;
      this.#forms[member] = state;
      at += 1;
    } else {
      while (inWord[source[at] as number] === 1) at += 1;
      if (source[start] === 0x6e) {
        const { nullAllowed } = this.#members[member] as SureMember;
        if (!nullAllowed || at - start !== 4 || source.readUInt32BE(start) !== nullWord) return -1;
        this.#forms[member] = isNull;
      } else {
        if (this.#isText[member] === 1 || read === null || !this.#read(read, member, source, start, at)) return -1;
        this.#forms[member] = isWord;
      }
    }
    this.#ends[member] = at;
    return at;
  }

  #read(read: SureRead, member: number, source: Buffer, start: number, end: number): boolean {
    const found = read(source, start, end);
    this.#numbers[member] = found;
    return !Number.isNaN(found);
  }

  #write(recordNo: number, source: Buffer, byteCount: number): void {
    const { rows } = this;
    rows.begin(recordNo, this.#members.length, byteCount);
    for (let at = 0; at < this.#members.length; at += 1) {
      const form = this.#forms[at];
      if (form === absent || form === isNull) {
        rows.addNull();
        continue;
      }
      const quotes = form === isWord ? 0 : 1;
      const [start, end] = [(this.#starts[at] as number) + quotes, (this.#ends[at] as number) - quotes];
      const type = this.#types[at] as SureType;
      if (type !== 'text') rows.addValue(type, this.#numbers[at] as number, source, start, end);
      else if (form === escapedEnd) rows.addEscaped(source, start, end);
      else rows.addText(source, start, end);
    }
  }
}

function blanksEnd(source: Buffer, start: number, end: number): number {
  let at = start;
  for (; at < end; at += 1) {
    const byte = source[at] as number;
    if (byte > 0x20 || (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09)) break;
  }
  return at;
}

/** Whether a name stands there, with the quote behind it. */
function isAt(name: Buffer, source: Buffer, start: number, end: number): boolean {
  const closing = start + name.length;
  if (closing >= end || source[closing] !== quote) return false;
  for (let at = 0; at < name.length; at += 1) if (source[start + at] !== name[at]) return false;
  return true;
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
