import type { Encoding } from '../../../../src/contracts/copybook/record-layout.ts';

/** What a field's bytes are: the cell's text, or the place of the first byte that cannot be. */
export type Plain = { text: string } | { bad: number };
type Zoned = Encoding & { kind: 'zoned' };
type Binary = Encoding & { kind: 'binary' };

/**
 * Decodes numbers one digit after the other into a list, and writes the list: slow, and plain enough to be read against the
 * manual. What the product's decoders do with pairs and tables is held against it.
 */
export function plainNumber(encoding: Exclude<Encoding, { kind: 'text' }>, bytes: Uint8Array, padded: boolean): Plain {
  if (encoding.kind === 'packed') return packed(encoding, bytes, padded);
  if (encoding.kind === 'zoned') return zoned(encoding, bytes, padded);
  return binary(encoding, bytes, padded);
}

interface Digits {
  digits: readonly number[];
  negative: boolean;
}

/** Exactly, and never minus zero. */
function write({ digits, negative }: Digits, scale: number, padded: boolean): Plain {
  const nonZero = digits.findIndex((digit) => digit !== 0);
  const first = nonZero === -1 ? digits.length : nonZero;
  const point = digits.length - scale;
  const from = padded ? 0 : Math.min(first, Math.max(point - 1, 0));
  const written = digits.map((digit, at) => (at === point ? `.${digit}` : String(digit))).slice(from);
  return { text: `${negative && nonZero !== -1 ? '-' : ''}${point <= 0 ? '0' : ''}${written.join('')}` };
}

function signOf(half: number): 'plus' | 'minus' | null {
  if (half === 0xb || half === 0xd) return 'minus';
  return half < 10 ? null : 'plus';
}

function packed(encoding: Encoding & { kind: 'packed' }, bytes: Uint8Array, padded: boolean): Plain {
  const halves = [...bytes].flatMap((byte) => [byte >> 4, byte & 15]);
  const sign = signOf(halves.at(-1) as number);
  const digits = halves.slice(0, -1);
  const bad = digits.findIndex((digit) => digit > 9);
  if (bad !== -1) return { bad: bad >> 1 };
  if (sign === null || (sign === 'minus' && !encoding.signed)) return { bad: bytes.length - 1 };
  if (encoding.digits % 2 === 0 && digits.shift() !== 0) return { bad: 0 };
  return write({ digits, negative: sign === 'minus' }, encoding.scale, padded);
}

function zoned(encoding: Zoned, bytes: Uint8Array, padded: boolean): Plain {
  const read = zonedDigits(encoding, bytes);
  if ('digits' in read) return write(read, encoding.scale, padded);
  if (!encoding.blankWhenZero || bytes.some((byte) => byte !== 0x40)) return read;
  return write({ digits: Array<number>(encoding.digits).fill(0), negative: false }, encoding.scale, padded);
}

function zonedDigits({ digits: count, signed, leading, separate }: Zoned, bytes: Uint8Array): Digits | { bad: number } {
  const first = separate && leading ? 1 : 0;
  const signAt = leading ? 0 : separate ? count : count - 1;
  let negative = false;
  if (separate) {
    if (bytes[signAt] === 0x60) negative = true;
    else if (bytes[signAt] !== 0x4e) return { bad: signAt };
  }
  const digits: number[] = [];
  for (let at = first; at < first + count; at += 1) {
    const byte = bytes[at] as number;
    if ((byte & 15) > 9) return { bad: at };
    if (byte < 0xf0) {
      const sign = signed && !separate && at === signAt ? signOf(byte >> 4) : null;
      if (sign === null) return { bad: at };
      negative = sign === 'minus';
    }
    digits.push(byte & 15);
  }
  return { digits, negative };
}

function binary({ digits, scale, signed, native }: Binary, bytes: Uint8Array, padded: boolean): Plain {
  const bits = bytes.length * 8;
  const unsigned = BigInt(`0x${Buffer.from(bytes).toString('hex')}`);
  const value = signed ? BigInt.asIntN(bits, unsigned) : unsigned;
  const size = value < 0n ? -value : value;
  if (!native && size >= 10n ** BigInt(digits)) return { bad: 0 };
  const width = native ? Math.max(bits === 16 ? 5 : bits === 32 ? 10 : 20, scale + 1) : digits;
  const written = [...String(size).padStart(width, '0')].map(Number);
  return write({ digits: written, negative: value < 0n }, scale, padded);
}
