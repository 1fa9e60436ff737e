import { FluxError } from '../../errors.ts';

/** A word of a copybook with the line that it stands on, from 1. `.` alone ends an entry. */
export interface CopybookWord {
  text: string;
  line: number;
}

const codeEnd = 72;

/** @throws INVALID_INPUT naming the line */
export function copybookProblem(line: number, problem: string): FluxError {
  return new FluxError('INVALID_INPUT', `The copybook cannot be used: line ${line} ${problem}`, { details: { line } });
}

/**
 * Reads a copybook's text into words. Fixed reference format: columns 1 to 6 are a sequence number, column 7 says what the
 * line is (`*` and `/` a comment, `D` a debugging line, `-` a continuation), columns 73 on are a note. Where any line does not
 * fit that, all of it is free format. Literals are one word.
 */
export function copybookWords(text: string): CopybookWord[] {
  const lines = text
    .replace(/^\uFEFF/, '')
    .split(/\r\n|\n|\r/)
    .map(expandTabs);
  const fixed = lines.every((line) => line.trim() === '' || isFixedFormat(line));
  return splitWords(fixed ? fixedLines(lines) : freeLines(lines));
}

interface CodeLine {
  text: string;
  line: number;
}

function expandTabs(line: string): string {
  let out = '';
  for (const letter of line) out += letter === '\t' ? ' '.repeat(8 - (out.length % 8)) : letter;
  return out;
}

/** A sequence area is blank or has no blank in it: "01 REC" is neither. */
function isFixedFormat(line: string): boolean {
  const area = line.slice(0, 6);
  return (/^ *$/.test(area) || /^[^ ]{6}$/.test(area)) && /^[ *\/$Dd-]?$/.test(line.slice(6, 7));
}

function fixedLines(lines: readonly string[]): CodeLine[] {
  const code: CodeLine[] = [];
  for (const [at, whole] of lines.entries()) {
    const indicator = whole.slice(6, 7);
    const text = whole.slice(7, codeEnd);
    if (text.trim() === '' || /^[*\/$Dd]$/.test(indicator)) continue;
    const before = code.at(-1);
    if (indicator !== '-') code.push({ text: withoutNote(text), line: at + 1 });
    else if (before === undefined) throw copybookProblem(at + 1, 'continues a line (column 7), but none is before it.');
    else continueLine(before, text);
  }
  // Again: a continued line may end in a note of its own.
  return code.map(({ text, line }) => ({ text: withoutNote(text), line }));
}

/** An open literal goes on behind the next line's quote and holds the blanks up to column 72; a word goes on at once. */
function continueLine(before: CodeLine, text: string): void {
  const rest = text.trimStart();
  const quote = openQuote(before.text);
  before.text =
    quote === null
      ? before.text.trimEnd() + rest
      : before.text.padEnd(codeEnd - 7) + (rest.startsWith(quote) ? rest.slice(1) : rest);
}

function freeLines(lines: readonly string[]): CodeLine[] {
  return lines
    .map((text, at) => ({ text: withoutNote(text), line: at + 1 }))
    .filter(({ text }) => text.trim() !== '' && !text.trimStart().startsWith('*'));
}

/** Cuts `*>` and what follows, outside literals. */
function withoutNote(text: string): string {
  for (let at = text.indexOf('*>'); at !== -1; at = text.indexOf('*>', at + 2)) {
    if (openQuote(text.slice(0, at)) === null) return text.slice(0, at);
  }
  return text;
}

function openQuote(text: string): string | null {
  let quote: string | null = null;
  for (const letter of text) {
    if (quote === null && (letter === '"' || letter === "'")) quote = letter;
    else if (letter === quote) quote = null;
  }
  return quote;
}

const wordPattern = /\s+|("(?:[^"]|"")*"?|'(?:[^']|'')*'?)|[,;](?=\s|$)|\.(?=\s|$)|((?:[^\s"'.,;]|[.,;](?!\s|$))+)/gy;

function splitWords(lines: readonly CodeLine[]): CopybookWord[] {
  return lines.flatMap(({ text, line }) =>
    [...text.matchAll(wordPattern)]
      .map(([word]) => word)
      .filter((word) => !/^(\s+|[,;])$/.test(word))
      .map((word) => ({ text: /^["']/.test(word) ? word : word.toUpperCase(), line })),
  );
}
