/** Writes mainframe fields, to be read back: a second hand that shares nothing with the decoder. */

/** Digits with their sign; `digits` has as many as the picture. */
export interface Written {
  digits: string;
  negative: boolean;
}

const minusZones: Readonly<Record<string, string>> = Object.fromEntries(
  [...'0123456789'].map((digit) => [digit, `d${digit}`]),
);

export function zoned(
  { digits, negative }: Written,
  sign: { signed: boolean; leading: boolean; separate: boolean },
): Buffer {
  const plain = [...digits].map((digit) => `f${digit}`);
  if (!sign.signed) return Buffer.from(plain.join(''), 'hex');
  if (sign.separate) {
    const mark = negative ? '60' : '4e';
    return Buffer.from((sign.leading ? [mark, ...plain] : [...plain, mark]).join(''), 'hex');
  }
  const at = sign.leading ? 0 : digits.length - 1;
  plain[at] = negative ? (minusZones[digits[at] ?? ''] ?? '') : `c${digits[at]}`;
  return Buffer.from(plain.join(''), 'hex');
}

export function packed({ digits, negative }: Written, signed: boolean): Buffer {
  const halves = `${digits}${signed ? (negative ? 'd' : 'c') : 'f'}`;
  return Buffer.from(halves.length % 2 === 0 ? halves : `0${halves}`, 'hex');
}

export function binary({ digits, negative }: Written, bytes: number): Buffer {
  const value = BigInt(digits) * (negative ? -1n : 1n);
  return Buffer.from(
    BigInt.asUintN(bytes * 8, value)
      .toString(16)
      .padStart(bytes * 2, '0'),
    'hex',
  );
}

/** ASCII letters, digits and blanks in EBCDIC; they stand at the same places in all four code pages. */
export function ebcdic(text: string): Buffer {
  return Buffer.from([...text].map(letterByte));
}

function letterByte(letter: string): number {
  const rows = [
    ['abcdefghi', 0x81],
    ['jklmnopqr', 0x91],
    ['stuvwxyz', 0xa2],
    ['ABCDEFGHI', 0xc1],
    ['JKLMNOPQR', 0xd1],
    ['STUVWXYZ', 0xe2],
    ['0123456789', 0xf0],
    [' ', 0x40],
    ['"', 0x7f],
    [',', 0x6b],
    ['.', 0x4b],
  ] as const;
  for (const [letters, first] of rows) {
    const at = letters.indexOf(letter);
    if (at !== -1) return first + at;
  }
  throw new Error(`no EBCDIC for ${letter}`);
}

/** A record behind its descriptor word. */
export function withDescriptor(record: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(record.length + 4, 0);
  return Buffer.concat([head, record]);
}
