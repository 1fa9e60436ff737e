import type { ByteFile } from '../../objects/byte-file.ts';
import { type ByteRange, ByteWindow, type SplitLimits } from './byte-window.ts';
import { recordByteCountMax } from './limits.ts';

/** The document is not what its format says; nothing after `offset` can be trusted. */
export class JsonStructureError extends Error {
  override readonly name = 'JsonStructureError';
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

const [quote, backslash, comma, colon] = [0x22, 0x5c, 0x2c, 0x3a];
const [openArray, closeArray, openObject, closeObject] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * Finds the records of one JSON document: the elements of the array at a JSON Pointer. It walks bytes with a count of open
 * containers and holds one record at a time; whether a record itself is JSON is for `JSON.parse` to say.
 */
export class JsonSplitter {
  readonly #window: ByteWindow;
  readonly #maxBytes: number;
  #position = 0;
  /** Bytes before this position in the window are not needed any more. */
  #keepFrom = 0;
  #afterComma = false;

  /** Position of the record in `buffer`. */
  start = 0;
  end = 0;
  /** The deepest nesting in the record. */
  depth = 0;

  constructor(file: ByteFile, range: ByteRange, limits: SplitLimits = {}) {
    this.#window = new ByteWindow(file, range, limits.blockBytes);
    this.#maxBytes = limits.maxBytes ?? recordByteCountMax;
  }

  get buffer(): Buffer {
    return this.#window.buffer;
  }

  get offset(): number {
    return this.#window.base + this.start;
  }

  /** File offset of what follows: an element, or the end of the array. */
  get nextOffset(): number {
    return this.#window.base + this.#position;
  }

  /**
   * Goes into the array at `pointer`, from the beginning of the document.
   *
   * @returns how many containers are open around its elements
   * @throws JsonStructureError there is no array there
   */
  enter(pointer: string): number {
    let open = 0;
    for (const token of pointer.split('/').slice(1)) {
      const key = token.replaceAll('~1', '/').replaceAll('~0', '~');
      const found = this.#peek();
      if (found === openObject) this.#enterMember(key, pointer);
      else if (found === openArray && /^(0|[1-9]\d{0,8})$/.test(key)) this.#enterElement(Number(key), pointer);
      else throw this.#error(`Expected an object at a part of ${pointer}, found ${describeByte(found)}`);
      open += 1;
    }
    const found = this.#peek();
    if (found !== openArray) {
      throw this.#error(`Expected an array of records at "${pointer}", found ${describeByte(found)}`);
    }
    this.#position += 1;
    return open + 1;
  }

  /**
   * Moves to the next record, from a place where an element or the array's end is expected.
   *
   * @param first nothing stands before it in the array
   */
  next(first: boolean): boolean {
    const found = this.#peek();
    if (found === closeArray) {
      if (!first && this.#afterComma)
        throw this.#error('Expected a record after the comma, found the end of the array');
      return false;
    }
    this.#skipValue();
    const afterRecord = this.#peek(true);
    this.#afterComma = afterRecord === comma;
    if (afterRecord === comma) this.#position += 1;
    else if (afterRecord !== closeArray)
      throw this.#error(`Expected "," or "]" after a record, found ${describeByte(afterRecord)}`);
    return true;
  }

  /**
   * Reads the rest of the document after the array: that its containers close, that nothing follows them, and that no member by which the
   * array was found is there twice, because of two lists one would be lost.
   *
   * @param pointer the array's, as it was entered
   */
  finish(open: number, pointer = ''): void {
    const names = pointer
      .split('/')
      .slice(1)
      .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));
    let depth = open;
    /** So many containers around the array have not closed yet. */
    let around = open;
    for (;;) {
      const byte = this.#peek();
      if (byte === -1) break;
      if (depth === 0) {
        const found = byte === closeArray || byte === closeObject ? 'another closing bracket' : describeByte(byte);
        throw this.#error(`Expected the end of the document, found ${found}`);
      }
      if (byte === quote) {
        if (depth === around && depth < open) this.#requireOther(names[depth - 1], pointer);
        else this.#skipString(true);
        continue;
      }
      if (byte === openArray || byte === openObject) depth += 1;
      if (byte === closeArray || byte === closeObject) depth -= 1;
      around = Math.min(around, depth);
      this.#position += 1;
      this.#keepFrom = this.#position;
    }
    if (depth > 0) throw this.#error(`Expected ${depth} more closing brackets, found the end of the document`);
  }

  /** Passes a text of a container around the array; as a member's name it must not be the one that led to the array. */
  #requireOther(name: string | undefined, pointer: string): void {
    this.#skipValue();
    // Names are short; a longer text is a value.
    const found = this.end - this.start <= 4_096 ? this.#key() : null;
    if (this.#peek() === colon && found === name)
      throw this.#error(`Expected one member "${found}" on the way to ${pointer}, found another`);
  }

  #enterMember(key: string, pointer: string): void {
    this.#position += 1;
    for (;;) {
      const found = this.#peek();
      if (found !== quote)
        throw this.#error(`Expected a member on the way to ${pointer}, found ${describeByte(found)}`);
      this.#skipValue();
      const name = this.#key();
      const separator = this.#peek();
      if (separator !== colon)
        throw this.#error(`Expected ":" after a member's name, found ${describeByte(separator)}`);
      this.#position += 1;
      if (name === key) return;
      this.#skipSibling(`No member "${key}" on the way to ${pointer}`);
    }
  }

  #enterElement(index: number, pointer: string): void {
    this.#position += 1;
    for (let passed = 0; passed < index; passed += 1) this.#skipSibling(`No element ${index} on the way to ${pointer}`);
  }

  #skipSibling(message: string): void {
    this.#peek();
    this.#skipValue(true);
    const found = this.#peek();
    if (found !== comma) throw this.#error(`${message}; found ${describeByte(found)}`);
    this.#position += 1;
  }

  #key(): string | null {
    try {
      return JSON.parse(this.buffer.toString('utf8', this.start, this.end)) as string;
    } catch {
      throw this.#error("Expected a member's name, found a broken string");
    }
  }

  /** The next byte that is no whitespace, without taking it; -1 at the end. */
  #peek(keepRecord = false): number {
    for (;;) {
      const { buffer, length } = this.#window;
      while (this.#position < length) {
        const byte = buffer[this.#position] as number;
        if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return byte;
        this.#position += 1;
      }
      this.#keepFrom = keepRecord ? this.start : this.#position;
      if (!this.#refill()) return -1;
    }
  }

  /** Drops what lies before `#keepFrom` and reads on. */
  #refill(): boolean {
    const from = this.#keepFrom;
    if (!this.#window.refill(from)) return false;
    this.#position -= from;
    this.start -= from;
    this.end -= from;
    this.#keepFrom = 0;
    return true;
  }

  /** Passes one value: `start` to `end`. With `forget` its bytes are not kept, and may be of any length. */
  #skipValue(forget = false): void {
    this.start = this.#position;
    this.#keepFrom = this.#position;
    this.depth = 0;
    let depth = 0;
    let taken = 0;
    for (;;) {
      const byte = this.#byte(forget);
      if (byte === -1) throw this.#error('Expected the rest of a value, found the end of the document');
      if (byte === quote) {
        this.#skipString(forget);
        if (depth === 0) break;
        continue;
      }
      if (depth === 0 && (byte === comma || byte === closeArray || byte === closeObject || byte <= 0x20)) {
        if (taken === 0) throw this.#error(`Expected a value, found ${describeByte(byte)}`);
        break;
      }
      this.#position += 1;
      taken += 1;
      if (byte === openArray || byte === openObject) {
        depth += 1;
        if (depth > this.depth) this.depth = depth;
      } else if (byte === closeArray || byte === closeObject) {
        depth -= 1;
        if (depth === 0) break;
      }
    }
    this.end = this.#position;
  }

  #skipString(forget = false): void {
    this.#position += 1;
    for (;;) {
      const byte = this.#byte(forget);
      if (byte === -1) throw this.#error('Expected the end of a string, found the end of the document');
      this.#position += byte === backslash ? 2 : 1;
      if (byte === quote) return;
    }
  }

  /** The byte at the position, read on where needed; -1 at the end. */
  #byte(forget: boolean): number {
    while (this.#position >= this.#window.length) {
      if (forget) {
        this.#keepFrom = Math.min(this.#position, this.#window.length);
        this.start = this.#keepFrom;
      } else if (this.#position - this.start > this.#maxBytes) {
        throw this.#error(`Expected records of at most ${this.#maxBytes} bytes, found a longer one`, this.start);
      }
      if (!this.#refill()) return -1;
    }
    if (!forget && this.#position - this.start > this.#maxBytes) {
      throw this.#error(`Expected records of at most ${this.#maxBytes} bytes, found a longer one`, this.start);
    }
    return this.#window.buffer[this.#position] as number;
  }

  #error(message: string, position = this.#position): JsonStructureError {
    return new JsonStructureError(message, this.#window.base + position);
  }
}

function describeByte(byte: number): string {
  if (byte === -1) return 'the end of the document';
  return byte > 0x20 && byte < 0x7f ? `"${String.fromCharCode(byte)}"` : `byte 0x${byte.toString(16).padStart(2, '0')}`;
}

/** Finds the lines of NDJSON; lines of nothing but whitespace are no records. */
export class LineSplitter {
  readonly #window: ByteWindow;
  readonly #maxBytes: number;
  #position = 0;

  start = 0;
  end = 0;
  /** The line is longer than allowed; there is no next one. */
  tooLong = false;

  constructor(file: ByteFile, range: ByteRange, limits: SplitLimits = {}) {
    this.#window = new ByteWindow(file, range, limits.blockBytes);
    this.#maxBytes = limits.maxBytes ?? recordByteCountMax;
  }

  get buffer(): Buffer {
    return this.#window.buffer;
  }

  get offset(): number {
    return this.#window.base + this.start;
  }

  get nextOffset(): number {
    return this.#window.base + this.#position;
  }

  next(): boolean {
    while (!this.tooLong) {
      if (!this.#line()) return false;
      if (!this.#isBlank()) return true;
    }
    return false;
  }

  #line(): boolean {
    for (;;) {
      const { buffer, length, atEnd } = this.#window;
      const feed = buffer.indexOf(10, this.#position);
      const complete = feed !== -1 && feed < length;
      if (complete || (atEnd && this.#position < length) || length - this.#position > this.#maxBytes) {
        this.start = this.#position;
        this.end = complete ? feed : length;
        this.tooLong = this.end - this.start > this.#maxBytes;
        this.#position = complete ? feed + 1 : length;
        return true;
      }
      if (atEnd) return false;
      this.#window.refill(this.#position);
      this.#position = 0;
    }
  }

  #isBlank(): boolean {
    for (let at = this.start; at < this.end; at += 1) {
      const byte = this.buffer[at] as number;
      if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0d) return false;
    }
    return true;
  }
}
