import { isUtf8 } from 'node:buffer';
import type { ContractField, ContractModel } from '../ingest/contract-model.ts';
import { SureRows } from './sure-rows.ts';
import { type SureCheck, sureValue } from './sure-value.ts';

/** A member that a record may have, and the column that it is. */
interface SureMember {
  name: Buffer;
  required: boolean;
  nullAllowed: boolean;
  kind: ContractField['kind'];
  check: SureCheck;
}

const [quote, backslash, comma, colon, openObject, closeObject] = [0x22, 0x5c, 0x2c, 0x3a, 0x7b, 0x7d];

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
  #source: Buffer = Buffer.alloc(0);
  #at = 0;
  #end = 0;
  #beyondAscii = false;

  private constructor(members: readonly SureMember[]) {
    this.#members = members;
    this.#byName = new Map(members.map(({ name }, at) => [name.toString('latin1'), at]));
    this.#starts = new Int32Array(members.length);
    this.#ends = new Int32Array(members.length);
    this.#texts = new Uint8Array(members.length);
  }

  /** @returns null: of some member, or of the whole, nothing is ever sure */
  static of({ fields, fallbacks }: ContractModel): SureJson | null {
    if (fallbacks.length > 0) return null;
    const members: SureMember[] = [];
    for (const field of fields) {
      const [name, ...inner] = field.path;
      const { kind, required, nullAllowed } = field;
      const check = sureValue(field);
      if (name === undefined || inner.length > 0 || check === null) return null;
      members.push({ name: Buffer.from(name, 'utf8'), required, nullAllowed, kind, check });
    }
    return new SureJson(members);
  }

  /** @param source `[start, end)` is one record. @returns whether the row is written */
  take(recordNo: number, source: Buffer, start: number, end: number): boolean {
    this.#source = source;
    this.#at = start;
    this.#end = end;
    this.#beyondAscii = false;
    if (this.#scan() && (!this.#beyondAscii || isUtf8(source.subarray(start, end)))) {
      this.#write(recordNo, end - start);
      return true;
    }
    this.rows.leave(recordNo);
    return false;
  }

  #write(recordNo: number, byteCount: number): void {
    const { rows } = this;
    const source = this.#source;
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
  #scan(): boolean {
    this.#starts.fill(-2);
    if (!this.#takes(openObject)) return false;
    for (let expected = 0; ; expected += 1) {
      const member = this.#member(expected);
      if (member === -1 || this.#starts[member] !== -2) return false;
      if (!this.#takes(colon) || !this.#value(member)) return false;
      if (this.#takes(comma)) continue;
      if (!this.#takes(closeObject)) return false;
      break;
    }
    this.#skipBlanks();
    return this.#at === this.#end && this.#allThere();
  }

  #allThere(): boolean {
    for (let at = 0; at < this.#members.length; at += 1) {
      if (this.#starts[at] !== -2) continue;
      if (this.#members[at]?.required) return false;
      this.#starts[at] = -1;
    }
    return true;
  }

  #skipBlanks(): void {
    for (; this.#at < this.#end; this.#at += 1) {
      const byte = this.#source[this.#at];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return;
    }
  }

  #takes(byte: number): boolean {
    if (this.#source[this.#at] !== byte) this.#skipBlanks();
    if (this.#at >= this.#end || this.#source[this.#at] !== byte) return false;
    this.#at += 1;
    return true;
  }

  /** @param expected the member that comes here when the record has them in the contract's order. @returns -1: not one that is known */
  #member(expected: number): number {
    if (!this.#takes(quote)) return -1;
    const start = this.#at;
    const name = this.#members[expected]?.name;
    if (name !== undefined && this.#isAt(name)) {
      this.#at += name.length + 1;
      return expected;
    }
    const closing = this.#source.indexOf(quote, start);
    if (closing === -1 || closing >= this.#end) return -1;
    this.#at = closing + 1;
    return this.#byName.get(this.#source.toString('latin1', start, closing)) ?? -1;
  }

  #isAt(name: Buffer): boolean {
    const source = this.#source;
    const start = this.#at;
    if (source[start + name.length] !== quote) return false;
    for (let at = 0; at < name.length; at += 1) if (source[start + at] !== name[at]) return false;
    return start + name.length < this.#end;
  }

  #value(member: number): boolean {
    this.#skipBlanks();
    const { kind, nullAllowed, check } = this.#members[member] as SureMember;
    const isText = this.#source[this.#at] === quote;
    const start = isText ? this.#at + 1 : this.#at;
    const end = isText ? this.#textEnd(start) : this.#wordEnd(start);
    if (end === -1 || start === this.#end) return false;
    this.#at = isText ? end + 1 : end;
    this.#starts[member] = start;
    this.#ends[member] = end;
    this.#texts[member] = isText ? 1 : 0;
    if (isText) return kind === 'string' && check(this.#source, start, end);
    if (this.#source[start] === 0x6e) {
      this.#starts[member] = -1;
      return nullAllowed && this.#source.toString('latin1', start, end) === 'null';
    }
    return kind !== 'string' && check(this.#source, start, end);
  }

  /** Where the text's closing quote stands; -1: it has an escape, a control character, or no end. */
  #textEnd(start: number): number {
    const source = this.#source;
    for (let at = start; at < this.#end; at += 1) {
      const byte = source[at] as number;
      if (byte === quote) return at;
      if (byte === backslash || byte < 0x20) return -1;
      if (byte > 0x7f) this.#beyondAscii = true;
    }
    return -1;
  }

  #wordEnd(start: number): number {
    const source = this.#source;
    let at = start;
    for (; at < this.#end; at += 1) {
      const byte = source[at] as number;
      if (byte === comma || byte === closeObject || byte <= 0x20) break;
    }
    return at;
  }
}
