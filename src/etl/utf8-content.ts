/** Encodings that a text format may declare besides UTF-8. */
export const encodings = ['utf-16le', 'utf-16be', 'windows-1252', 'iso-8859-1', 'iso-8859-15', 'us-ascii'] as const;
export type Encoding = (typeof encodings)[number];

/** The bytes are not what the encoding has. */
export class EncodingFault extends Error {
  override readonly name = 'EncodingFault';
}

export function isEncoding(value: unknown): value is Encoding {
  return (encodings as readonly unknown[]).includes(value);
}

/**
 * Text in another encoding as UTF-8, piece by piece. Strict: what the encoding does not define is a fault at its byte and never
 * becomes U+FFFD. A byte order mark is passed over; one of the other byte order is a fault.
 *
 * @throws EncodingFault
 */
export async function* utf8Content(
  source: AsyncIterable<Uint8Array>,
  encoding: Encoding,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (encoding === 'utf-16le' || encoding === 'utf-16be') yield* fromUtf16(source, encoding);
  else yield* fromSingleBytes(source, encoding);
}

async function* fromSingleBytes(
  source: AsyncIterable<Uint8Array>,
  encoding: Exclude<Encoding, 'utf-16le' | 'utf-16be'>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const table = tableOf(encoding);
  let offset = 0;
  for await (const piece of source) {
    const text = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength).toString('latin1');
    const odd = table.undefinedBytes.exec(text);
    if (odd) throw fault(encoding, `byte 0x${odd[0].charCodeAt(0).toString(16)}`, offset + odd.index);
    offset += piece.byteLength;
    yield Buffer.from(
      table.differs ? text.replace(table.differs, (one) => table.characters[one.charCodeAt(0)] ?? one) : text,
    );
  }
}

interface SingleByteTable {
  /** What the encoding leaves undefined, as characters of Latin-1. */
  undefinedBytes: RegExp;
  /** Where it is not Latin-1; null: nowhere. */
  differs: RegExp | null;
  characters: readonly string[];
}

function tableOf(encoding: 'windows-1252' | 'iso-8859-1' | 'iso-8859-15' | 'us-ascii'): SingleByteTable {
  const never = /(?!)/;
  // The web's label iso-8859-1 means windows-1252; Latin-1 itself is the first 256 code points.
  if (encoding === 'iso-8859-1') return { undefinedBytes: never, differs: null, characters: [] };
  if (encoding === 'us-ascii') return { undefinedBytes: /[\x80-\xff]/, differs: null, characters: [] };
  const characters = [...new TextDecoder(encoding).decode(Uint8Array.from({ length: 256 }, (_each, at) => at))];
  return encoding === 'iso-8859-15'
    ? { undefinedBytes: never, differs: /[\xa4-\xbe]/g, characters }
    : { undefinedBytes: /[\x81\x8d\x8f\x90\x9d]/, differs: /[\x80-\x9f]/g, characters };
}

async function* fromUtf16(
  source: AsyncIterable<Uint8Array>,
  encoding: 'utf-16le' | 'utf-16be',
): AsyncGenerator<Uint8Array, void, undefined> {
  let offset = 0;
  let rest = Buffer.alloc(0);
  for await (const piece of source) {
    const bytes = Buffer.concat([rest, piece]);
    // A unit, or a pair of surrogates, that goes on in the next piece waits for it.
    const whole = bytes.length & ~1;
    const lastUnit = whole >= 2 ? unitAt(bytes, whole - 2, encoding) : 0;
    const end = lastUnit >= 0xd800 && lastUnit < 0xdc00 ? whole - 2 : whole;
    yield* decoded(bytes.subarray(0, end), encoding, offset);
    offset += end;
    rest = Buffer.from(bytes.subarray(end));
  }
  if (rest.length > 0) throw fault(encoding, `${String(rest.length)} bytes of a character that does not end`, offset);
}

function* decoded(bytes: Buffer, encoding: 'utf-16le' | 'utf-16be', offset: number): Generator<Uint8Array> {
  if (bytes.length === 0) return;
  const first = unitAt(bytes, 0, encoding);
  if (offset === 0 && first === 0xfffe) throw fault(encoding, 'the byte order mark of the other byte order', 0);
  const units = Buffer.from(bytes);
  if (encoding === 'utf-16be') units.swap16();
  const text = units.toString('utf16le');
  if (!text.isWellFormed()) {
    const lone = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.exec(text);
    throw fault(encoding, 'half a surrogate pair', offset + 2 * (lone?.index ?? 0));
  }
  yield Buffer.from(offset === 0 && first === 0xfeff ? text.slice(1) : text);
}

function unitAt(bytes: Buffer, at: number, encoding: 'utf-16le' | 'utf-16be'): number {
  return encoding === 'utf-16le' ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at);
}

function fault(encoding: Encoding, found: string, offset: number): EncodingFault {
  return new EncodingFault(`${encoding} has no ${found} (byte ${String(offset)})`);
}
