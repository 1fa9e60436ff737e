import { isUtf8 } from 'node:buffer';
import type { ContractField, ContractModel } from '../ingest/contract-model.ts';
import { JsonTemplate } from './json-template.ts';
import { SureRows } from './sure-rows.ts';
import { sureCheck, type SureCheck, sureValue } from './sure-value.ts';

/** A member that a record may have, and the column that it is. */
interface SureMember {
  name: Buffer;
  required: boolean;
  nullAllowed: boolean;
  kind: ContractField['kind'];
  check: SureCheck;
  mayDouble: boolean;
}

/** Records that are written in another way than those before are looked at one by one; of so many one is taken as a new pattern. */
const learnEvery = 64;

const [quote, backslash, comma, colon, openObject, closeObject] = [0x22, 0x5c, 0x2c, 0x3a, 0x7b, 0x7d];
/** `null` */
const nullWord = 0x6e756c6c;

/**
 * Takes JSON records that surely meet their contract to COPY: flat ones with known members, whose texts have no escapes and whose numbers
 * are written plainly. Ajv and DuckDB would read, judge and print each of them for ten times the price.
 */
export class SureJson {
  readonly rows = new SureRows();
  readonly #members: readonly SureMember[];
  readonly #byName: ReadonlyMap<string, number>;
  /** Of each member in the record at hand: where its value stands; -1: nowhere. */
  readonly #starts: Int32Array;
  readonly #ends: Int32Array;
  /** Of each value: whether it is a text. */
  readonly #texts: Uint8Array;
  /** The member that came at each place of the record before: whatever wrote the records nearly always keeps to one order. */
  readonly #order: Int32Array;
  #beyondAscii = false;
  #template: JsonTemplate | null = null;
  #missed = 0;

  private constructor(members: readonly SureMember[]) {
    this.#members = members;
    this.#byName = new Map(members.map(({ name }, at) => [name.toString('latin1'), at]));
    this.#starts = new Int32Array(members.length);
    this.#ends = new Int32Array(members.length);
    this.#texts = new Uint8Array(members.length);
    this.#order = Int32Array.from(members, (_each, at) => at);
  }

  /** @returns null: of some member, or of the whole, nothing is ever sure */
  static of({ fields, fallbacks }: ContractModel): SureJson | null {
    if (fallbacks.length > 0) return null;
    const members: SureMember[] = [];
    for (const field of fields) {
      const [name, ...inner] = field.path;
      const { kind, required, nullAllowed } = field;
      const value = sureValue(field);
      if (name === undefined || inner.length > 0 || value === null) return null;
      members.push({
        name: Buffer.from(name, 'utf8'),
        required,
        nullAllowed,
        kind,
        check: sureCheck(value),
        mayDouble: value.mayDouble,
      });
    }
    return new SureJson(members);
  }

  /** @param source `[start, end)` is one record. @returns whether the row is written */
  take(recordNo: number, source: Buffer, start: number, end: number): boolean {
    const { rows } = this;
    if (this.#template !== null) {
      rows.begin(recordNo, end - start + this.#members.length * 3);
      if (this.#template.take(rows, source, start, end)) {
        rows.end();
        return true;
      }
      rows.takeBack();
    }
    this.#beyondAscii = false;
    if (this.#scan(source, start, end) && (!this.#beyondAscii || isUtf8(source.subarray(start, end)))) {
      this.#write(recordNo, source, end - start);
      if (this.#template === null || this.#missed % learnEvery === 0) this.#learn(source, start, end);
      this.#missed += 1;
      return true;
    }
    this.rows.leave(recordNo);
    return false;
  }

  /** Takes what stands between the values for what stands there in the next ones, if the record has all of them in the order of the columns. */
  #learn(source: Buffer, start: number, end: number): void {
    // Where a null stands is not known.
    if (this.#starts.some((from) => from < 0)) return;
    const between: Uint8Array[] = [];
    let at = start;
    for (let member = 0; member < this.#members.length; member += 1) {
      const around = this.#texts[member] === 1 ? 1 : 0;
      const from = (this.#starts[member] as number) - around;
      if (from < at) return;
      between.push(Uint8Array.from(source.subarray(at, from)));
      at = (this.#ends[member] as number) + around;
    }
    between.push(Uint8Array.from(source.subarray(at, end)));
    this.#template = new JsonTemplate(
      this.#members.map((member) => ({ ...member, isText: member.kind === 'string' })),
      between,
    );
  }

  #write(recordNo: number, source: Buffer, byteCount: number): void {
    const { rows } = this;
    rows.begin(recordNo, byteCount + this.#members.length * 3);
    for (let at = 0; at < this.#members.length; at += 1) {
      rows.separate();
      const start = this.#starts[at] as number;
      if (start === -1) continue;
      // Quoted always: an empty text is none, but an empty cell is null.
      if (this.#texts[at] === 1) rows.addQuoted(source, start, this.#ends[at] as number);
      else rows.addPlain(source, start, this.#ends[at] as number);
    }
    rows.end();
  }

  /** Walks one object. False: it is not surely good. */
  #scan(source: Buffer, start: number, end: number): boolean {
    const starts = this.#starts.fill(-2);
    let at = blanksEnd(source, start, end);
    if (at >= end || source[at] !== openObject) return false;
    for (let place = 0; ; place += 1) {
      at = blanksEnd(source, at + 1, end);
      if (at >= end || source[at] !== quote) return false;
      const member = this.#member(source, at + 1, { end, place });
      if (member === -1 || starts[member] !== -2) return false;
      at = blanksEnd(source, at + 2 + (this.#members[member] as SureMember).name.length, end);
      if (at >= end || source[at] !== colon) return false;
      at = this.#value(member, source, blanksEnd(source, at + 1, end), end);
      if (at === -1) return false;
      at = blanksEnd(source, at, end);
      if (at >= end) return false;
      if (source[at] === comma) continue;
      return source[at] === closeObject && blanksEnd(source, at + 1, end) === end && this.#allThere();
    }
  }

  #allThere(): boolean {
    for (let at = 0; at < this.#members.length; at += 1) {
      if (this.#starts[at] !== -2) continue;
      if (this.#members[at]?.required) return false;
      this.#starts[at] = -1;
    }
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

  /** @returns the place behind the value; -1: it is not surely good */
  #value(member: number, source: Buffer, at: number, end: number): number {
    const { kind, nullAllowed, check } = this.#members[member] as SureMember;
    const isText = source[at] === quote;
    const start = isText ? at + 1 : at;
    const to = isText ? this.#textEnd(source, start, end) : wordEnd(source, start, end);
    if (to === -1 || start >= end) return -1;
    this.#starts[member] = start;
    this.#ends[member] = to;
    this.#texts[member] = isText ? 1 : 0;
    if (isText) return kind === 'string' && check(source, start, to) ? to + 1 : -1;
    if (source[start] === 0x6e) {
      this.#starts[member] = -1;
      return nullAllowed && to - start === 4 && source.readUInt32BE(start) === nullWord ? to : -1;
    }
    return kind !== 'string' && check(source, start, to) ? to : -1;
  }

  /** Where the text's closing quote stands; -1: it has an escape, a control character, or no end. */
  #textEnd(source: Buffer, start: number, end: number): number {
    let bits = 0;
    for (let at = start; at < end; at += 1) {
      const byte = source[at] as number;
      if (byte === quote) {
        if (bits > 0x7f) this.#beyondAscii = true;
        return at;
      }
      if (byte === backslash || byte < 0x20) return -1;
      bits |= byte;
    }
    return -1;
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

function wordEnd(source: Buffer, start: number, end: number): number {
  let at = start;
  for (; at < end; at += 1) {
    const byte = source[at] as number;
    if (byte === comma || byte === closeObject || byte <= 0x20) break;
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
