import { copybookProblem } from './copybook-words.ts';

/** What a PICTURE says. `length` is in characters, as DISPLAY keeps it, a separate sign apart. */
export type Picture =
  | { category: 'text'; length: number }
  | { category: 'number'; length: number; digits: number; scale: number; signed: boolean };

/** ARITH(EXTEND) allows 31; without it 18. */
const digitCountMax = 31;
const textLengthMax = 32_767;

/** Reads `S9(7)V99`, `X(10)`, and edited pictures like `ZZ9.99-`, which are text. @throws INVALID_INPUT naming line and clause */
export function readPicture(clause: string, line: number): Picture {
  const symbols = expand(clause, line);
  if (/^[XA9]*$/.test(symbols) && /[XA]/.test(symbols))
    return checkLength({ category: 'text', length: symbols.length }, clause, line);
  const number = /^(S?)(9*)(V?)(9*)$/.exec(symbols);
  const digits = (number?.[2]?.length ?? 0) + (number?.[4]?.length ?? 0);
  if (number !== null && digits > 0) {
    if (digits > digitCountMax) {
      throw copybookProblem(line, `asks for ${digits} digits (PIC ${clause}); at most ${digitCountMax} are allowed.`);
    }
    return { category: 'number', length: digits, digits, scale: number[4]?.length ?? 0, signed: number[1] === 'S' };
  }
  if (/^(?:[9ZB0/,.*$+V-]|CR|DB)+$/.test(symbols) && !/^[SV]*$/.test(symbols)) {
    return checkLength({ category: 'text', length: symbols.replaceAll('V', '').length }, clause, line);
  }
  const what = /P/.test(symbols)
    ? 'P (scaling) is not offered yet'
    : /[NG]/.test(symbols)
      ? 'N and G (double-byte) are not offered yet'
      : 'it is not a picture';
  throw copybookProblem(line, `has PIC ${clause}: ${what}. Expected A, X, 9, S and V, or an edited number.`);
}

/** `X(3)9` as `XXX9`. */
function expand(clause: string, line: number): string {
  let count = 0;
  const symbols = clause.replace(/(.)\((\d{1,5})\)/g, (_all, symbol: string, times: string) => {
    count += Number(times);
    if (Number(times) === 0) throw copybookProblem(line, `repeats a symbol 0 times (PIC ${clause}).`);
    return count > textLengthMax ? '' : symbol.repeat(Number(times));
  });
  if (count > textLengthMax) throw tooLong(clause, line);
  if (/[()]/.test(symbols)) throw copybookProblem(line, `has PIC ${clause}, whose repetition is not written like (5).`);
  return symbols;
}

function checkLength<T extends { length: number }>(picture: T, clause: string, line: number): T {
  if (picture.length > textLengthMax) throw tooLong(clause, line);
  return picture;
}

function tooLong(clause: string, line: number): Error {
  return copybookProblem(line, `asks for more than ${textLengthMax} characters (PIC ${clause}).`);
}
