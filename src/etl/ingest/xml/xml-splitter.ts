import type { ByteFile } from '../../../objects/byte-file.ts';
import { type ByteRange, ByteWindow, type SplitLimits } from '../byte-window.ts';
import { recordByteCountMax } from '../limits.ts';

/** The document is not what its format says; nothing after `offset` can be trusted. */
export class XmlStructureError extends Error {
  override readonly name = 'XmlStructureError';
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

const [lessThan, greaterThan, slash, exclamation, question] = [0x3c, 0x3e, 0x2f, 0x21, 0x3f];
const [doubleQuote, singleQuote, openBracket] = [0x22, 0x27, 0x5b];
const [comment, commentEnd, cdata, cdataEnd, doctype, instructionEnd] = [
  '<!--',
  '-->',
  '<![CDATA[',
  ']]>',
  '<!DOCTYPE',
  '?>',
].map((text) => Buffer.from(text)) as [Buffer, Buffer, Buffer, Buffer, Buffer, Buffer];
/** Elements open at once; beyond it nobody means it, and each costs memory. */
const openElementsMax = 10_000;
/** Names that an error tells. */
const seenMax = 10;

/**
 * Finds the records of one XML document: the elements at a path of names. It walks bytes, holds one record at a time and checks
 * that tags pair; whether a record itself is well-formed is for the parser to say. Nothing is ever expanded or fetched: a document
 * type with declarations of its own is refused, one that only names an external one is passed over.
 *
 * All places are file offsets but `start` and `end`. A record's own place is enough to go on from, since what is open around it
 * is the path.
 */
export class XmlSplitter {
  readonly #window: ByteWindow;
  readonly #path: readonly string[];
  readonly #maxBytes: number;
  readonly #stack: string[] = [];
  /** How many of the open elements are those of the path. */
  #matched = 0;
  /** How many of the open elements were never seen. */
  readonly #assumed: number = 0;
  #rootSeen: boolean;
  #at: number;
  #recordStart = -1;
  #recordEnd = -1;

  recordCount = 0;
  readonly #seen = new Set<string>();

  /**
   * @param path names from the root down, without prefixes or as they are written; of none the document is the record
   * @param inside `range.start` lies between records, not before the document
   */
  constructor(
    file: ByteFile,
    range: ByteRange,
    path: readonly string[],
    limits: SplitLimits & { inside?: boolean } = {},
  ) {
    this.#window = new ByteWindow(file, range, limits.blockBytes);
    this.#maxBytes = limits.maxBytes ?? recordByteCountMax;
    this.#path = path;
    this.#at = range.start;
    this.#rootSeen = limits.inside === true;
    if (limits.inside !== true) return;
    this.#stack.push(...path.slice(0, -1));
    this.#matched = this.#stack.length;
    this.#assumed = this.#stack.length;
  }

  get buffer(): Buffer {
    return this.#window.buffer;
  }

  /** Position of the record in `buffer`. */
  get start(): number {
    return this.#recordStart - this.#window.base;
  }

  get end(): number {
    return this.#recordEnd - this.#window.base;
  }

  get offset(): number {
    return this.#recordStart;
  }

  get nextOffset(): number {
    return this.#at;
  }

  /** Paths of the first other elements that were met, for a document that has no record. */
  get seenNames(): string[] {
    return [...this.#seen].map(show);
  }

  /** Moves to the next record; false behind the document's end. @throws XmlStructureError */
  next(): boolean {
    this.#recordStart = -1;
    for (;;) {
      const from = this.#at;
      const tag = this.#find(lessThan);
      if (this.#stack.length === 0) this.#requireBlank(from, tag);
      if (tag === -1) return this.#finish();
      this.#at = tag;
      const kind = this.#byteAt(tag + 1);
      if (kind === question) this.#skipTo(instructionEnd, 'instruction');
      else if (kind === exclamation) this.#skipMarkup();
      else if (kind === slash) this.#close();
      else if (!startsName(kind)) throw this.#error(`Expected a tag behind "<", found ${describe(kind)}`, tag + 1);
      else if (this.#open(tag)) return true;
    }
  }

  #finish(): false {
    const open = this.#stack.at(-1);
    if (open !== undefined) throw this.#error(`Expected </${open}>, found the end of the document`, this.#at);
    if (!this.#rootSeen) throw this.#error('Expected an XML document, found no element', this.#at);
    return false;
  }

  /** Takes a start tag. @returns whether it began a record, which has been passed then */
  #open(tag: number): boolean {
    if (this.#stack.length === 0 && this.#rootSeen)
      throw this.#error('Expected the end of the document, found a second root element', tag);
    this.#rootSeen = true;
    const depth = this.#stack.length;
    const isRecord = depth === Math.max(this.#path.length - 1, 0) && this.#matched === depth;
    if (isRecord) this.#recordStart = tag;
    const { name, empty } = this.#startTag();
    if (isRecord && (this.#path.length === 0 || namedAs(name, this.#path[depth]))) {
      if (!empty) this.#passRecord(name);
      this.#recordEnd = this.#at;
      this.#requireShort();
      this.recordCount += 1;
      return true;
    }
    this.#recordStart = -1;
    if (this.recordCount === 0 && this.#seen.size < seenMax) this.#seen.add(`/${[...this.#stack, name].join('/')}`);
    if (empty) return false;
    if (this.#matched === depth && namedAs(name, this.#path[depth])) this.#matched += 1;
    this.#push(name);
    return false;
  }

  #push(name: string): void {
    if (this.#stack.length >= openElementsMax)
      throw this.#error(`Expected at most ${openElementsMax} elements within each other, found more`, this.#at);
    this.#stack.push(name);
  }

  /** Passes the rest of a record whose start tag has been taken. */
  #passRecord(name: string): void {
    const outside = this.#stack.length;
    this.#push(name);
    while (this.#stack.length > outside) {
      const tag = this.#find(lessThan);
      if (tag === -1)
        throw this.#error(`Expected </${String(this.#stack.at(-1))}>, found the end of the document`, this.#end());
      this.#at = tag;
      const kind = this.#byteAt(tag + 1);
      if (kind === question) this.#skipTo(instructionEnd, 'instruction');
      else if (kind === exclamation) this.#skipMarkup();
      else if (kind === slash) this.#close();
      else if (startsName(kind)) {
        const { name: inner, empty } = this.#startTag();
        if (!empty) this.#push(inner);
      } else {
        // A bare "<" in text: the parser says so of this record, and no tag is hidden by it.
        this.#at = tag + 1;
      }
    }
  }

  /** At `<name`: goes behind the tag's `>`. */
  #startTag(): { name: string; empty: boolean } {
    const tag = this.#at;
    const name = this.#name(tag + 1);
    let at = tag + 1 + Buffer.byteLength(name, 'latin1');
    let quote = 0;
    let before = 0;
    for (;;) {
      const byte = this.#byteAt(at);
      if (byte === -1) throw this.#error('Expected the end of a tag, found the end of the document', tag);
      if (byte === lessThan)
        throw this.#error(
          quote === 0 ? 'Expected the end of a tag, found "<"' : 'Expected the end of an attribute, found "<"',
          at,
        );
      if (quote !== 0) {
        if (byte === quote) quote = 0;
      } else if (byte === doubleQuote || byte === singleQuote) quote = byte;
      else if (byte === greaterThan) break;
      before = byte;
      at += 1;
    }
    this.#at = at + 1;
    return { name, empty: before === slash };
  }

  #close(): void {
    const tag = this.#at;
    const name = this.#name(tag + 2);
    let at = tag + 2 + Buffer.byteLength(name, 'latin1');
    while (isBlank(this.#byteAt(at))) at += 1;
    if (this.#byteAt(at) !== greaterThan) throw this.#error(`Expected ">" behind "</${show(name)}"`, at);
    const open = this.#stack.at(-1);
    // Where reading went on in the middle, the names around are the path's, perhaps without their prefixes.
    const pairs = open === name || (this.#stack.length <= this.#assumed && namedAs(name, open));
    if (!pairs)
      throw this.#error(
        `Expected ${open === undefined ? 'no end tag' : `</${show(open)}>`}, found </${show(name)}>`,
        tag,
      );
    this.#stack.pop();
    this.#matched = Math.min(this.#matched, this.#stack.length);
    this.#at = at + 1;
  }

  /** A comment, a CDATA section or a document type. */
  #skipMarkup(): void {
    if (this.#startsWith(comment)) return this.#skipTo(commentEnd, 'comment', comment.length);
    if (this.#stack.length > 0 && this.#startsWith(cdata)) return this.#skipTo(cdataEnd, 'CDATA section', cdata.length);
    if (!this.#rootSeen && this.#startsWith(doctype)) return this.#skipDoctype();
    throw this.#error('Expected an element, a comment or text, found other markup behind "<!"', this.#at);
  }

  #skipDoctype(): void {
    let quote = 0;
    for (let at = this.#at + doctype.length; ; at += 1) {
      const byte = this.#byteAt(at);
      if (byte === -1 || at - this.#at > 4096)
        throw this.#error('Expected a document type of at most 4096 bytes, found no end of it', this.#at);
      if (quote !== 0) {
        if (byte === quote) quote = 0;
      } else if (byte === doubleQuote || byte === singleQuote) quote = byte;
      else if (byte === openBracket) {
        throw this.#error(
          'Expected a document without declarations of its own (entities are never expanded), found a document type with some',
          at,
        );
      } else if (byte === greaterThan) {
        this.#at = at + 1;
        return;
      }
    }
  }

  #skipTo(sequence: Buffer, what: string, from = 2): void {
    const begin = this.#at;
    this.#at += from;
    const found = this.#find(sequence);
    if (found === -1) throw this.#error(`Expected the end of a ${what}, found the end of the document`, begin);
    this.#at = found + sequence.length;
  }

  /** As its bytes are, each one a character: names are only compared. */
  #name(from: number): string {
    let to = from;
    while (endsNoName(this.#byteAt(to))) to += 1;
    return this.buffer.toString('latin1', from - this.#window.base, to - this.#window.base);
  }

  #startsWith(sequence: Buffer): boolean {
    if (this.#byteAt(this.#at + sequence.length - 1) === -1) return false;
    const from = this.#at - this.#window.base;
    return this.buffer.compare(sequence, 0, sequence.length, from, from + sequence.length) === 0;
  }

  #requireBlank(from: number, to: number): void {
    const until = (to === -1 ? this.#end() : to) - this.#window.base;
    for (let at = Math.max(from - this.#window.base, 0); at < until; at += 1) {
      if (!isBlank(this.buffer[at] as number))
        throw this.#error('Expected a tag, found text outside of the root element', this.#window.base + at);
    }
  }

  #requireShort(): void {
    if (this.#recordEnd - this.#recordStart > this.#maxBytes)
      throw this.#error(`Expected records of at most ${this.#maxBytes} bytes, found a longer one`, this.#recordStart);
  }

  #end(): number {
    return this.#window.base + this.#window.length;
  }

  /** The file's byte; -1 behind its end. What is needed of the window stays in it. */
  #byteAt(place: number): number {
    while (place >= this.#end()) if (!this.#refill()) return -1;
    return this.#window.buffer[place - this.#window.base] as number;
  }

  /** Where it stands, from the place on; -1 behind the end. */
  #find(wanted: number | Buffer): number {
    const size = typeof wanted === 'number' ? 1 : wanted.length;
    for (let from = this.#at; ;) {
      const { buffer, base, length } = this.#window;
      const found = from - base < length ? buffer.indexOf(wanted, from - base) : -1;
      if (found !== -1 && found + size <= length) return base + found;
      // Outside of records nothing of what was searched is needed again; text before the root is looked at as it comes.
      const searched = Math.max(from, base + length - size + 1);
      if (this.#recordStart === -1) {
        if (this.#stack.length === 0 && size === 1) this.#requireBlank(this.#at, searched);
        this.#at = searched;
      }
      if (!this.#refill()) return -1;
      from = searched;
    }
  }

  #refill(): boolean {
    const keep = this.#recordStart === -1 ? this.#at : this.#recordStart;
    if (this.#end() - keep > this.#maxBytes) {
      throw this.#error(
        `Expected ${this.#recordStart === -1 ? 'tags' : 'records'} of at most ${this.#maxBytes} bytes, found a longer one`,
        keep,
      );
    }
    return this.#window.refill(Math.max(0, Math.min(keep - this.#window.base, this.#window.length)));
  }

  #error(message: string, offset: number): XmlStructureError {
    return new XmlStructureError(message, offset);
  }
}

/** Whether a name is what a path calls it: with its prefix where the path says one, else without. */
function namedAs(name: string, wanted: string | undefined): boolean {
  return wanted !== undefined && (name === wanted || localName(name) === wanted);
}

function localName(name: string): string {
  return name.slice(name.indexOf(':') + 1);
}

function startsName(byte: number): boolean {
  return (
    (byte >= 0x61 && byte <= 0x7a) || (byte >= 0x41 && byte <= 0x5a) || byte === 0x5f || byte === 0x3a || byte >= 0x80
  );
}

function endsNoName(byte: number): boolean {
  return startsName(byte) || (byte >= 0x30 && byte <= 0x39) || byte === 0x2d || byte === 0x2e;
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function show(name: string): string {
  return Buffer.from(name, 'latin1').toString('utf8').slice(0, 100);
}

function describe(byte: number): string {
  if (byte === -1) return 'the end of the document';
  return byte > 0x20 && byte < 0x7f ? `"${String.fromCharCode(byte)}"` : `byte 0x${byte.toString(16).padStart(2, '0')}`;
}

/** The names of a record's path (a JSON Pointer), as their bytes are. */
export function pathNames(pointer: string): string[] {
  return pointer
    .split('/')
    .slice(1)
    .map((token) => Buffer.from(token.replaceAll('~1', '/').replaceAll('~0', '~')).toString('latin1'));
}
