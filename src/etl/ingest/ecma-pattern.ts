/**
 * Translates an ECMAScript pattern (flag `u`, as JSON Schema asks) into RE2 where both provably match the same strings;
 * null where that is not sure, and then the whole record goes to Ajv.
 *
 * Known differences that are translated: `.` (RE2 excludes LF only), `$` (made the very end), `\d` and `\w` (ASCII in both).
 * Known differences that are refused: look-around, back references, `\s`, `\p`, `\B` and `\b` beside non-ASCII text, repeats
 * above RE2's limit of 1000, and whatever is not named below.
 */
export function toRe2(pattern: string): string | null {
  try {
    new RegExp(pattern, 'u');
  } catch {
    return null;
  }
  const reader = new Reader(Array.from(pattern));
  const translated = alternatives(reader);
  return translated === null || !reader.done ? null : translated;
}

class Reader {
  readonly #letters: readonly string[];
  #at = 0;

  constructor(letters: readonly string[]) {
    this.#letters = letters;
  }

  get done(): boolean {
    return this.#at >= this.#letters.length;
  }

  get letter(): string {
    return this.#letters[this.#at] ?? '';
  }

  take(): string {
    const letter = this.letter;
    this.#at += 1;
    return letter;
  }

  takes(text: string): boolean {
    const found = this.#letters.slice(this.#at, this.#at + text.length).join('');
    if (found !== text) return false;
    this.#at += text.length;
    return true;
  }
}

function alternatives(reader: Reader): string | null {
  let out = '';
  while (!reader.done && reader.letter !== ')') {
    if (reader.takes('|')) {
      out += '|';
      continue;
    }
    const term = termOf(reader);
    if (term === null) return null;
    out += term;
  }
  return out;
}

function termOf(reader: Reader): string | null {
  if (reader.takes('^')) return '\\A';
  if (reader.takes('$')) return '\\z';
  const atom = atomOf(reader);
  if (atom === null) return null;
  const repeat = repeatOf(reader);
  // RE2 multiplies counts within counts and refuses more than 1000.
  if (repeat === null || (repeat.startsWith('{') && atom.startsWith('(?:') && atom.includes('{'))) return null;
  return atom + repeat;
}

function atomOf(reader: Reader): string | null {
  if (reader.takes('(?:')) return group(reader);
  if (reader.takes('(?')) return null;
  if (reader.takes('(')) return group(reader);
  if (reader.takes('.')) return '[^\\n\\r\\x{2028}\\x{2029}]';
  if (reader.takes('[')) return classOf(reader);
  if (reader.takes('\\')) return escapeOf(reader.take());
  const letter = reader.take();
  return isPlain(letter) ? letter : null;
}

function group(reader: Reader): string | null {
  const inner = alternatives(reader);
  return inner === null || !reader.takes(')') ? null : `(?:${inner})`;
}

function escapeOf(letter: string): string | null {
  if (letter === 'd' || letter === 'w' || letter === 'D' || letter === 'W') return `\\${letter}`;
  if ('^$\\.*+?()[]{}|/'.includes(letter) && letter !== '') return letter === '/' ? '/' : `\\${letter}`;
  const controls: Record<string, string> = { t: '\\t', n: '\\n', r: '\\r', f: '\\f', v: '\\v' };
  return controls[letter] ?? null;
}

function classOf(reader: Reader): string | null {
  let out = reader.takes('^') ? '[^' : '[';
  let members = 0;
  while (!reader.done && reader.letter !== ']') {
    const from = classMember(reader);
    if (from === null) return null;
    members += 1;
    out += from;
    if (!reader.takes('-')) continue;
    if (reader.letter === ']') {
      out += '\\-';
      break;
    }
    const to = classMember(reader);
    if (to === null || /^\\[dwDW]$/.test(from) || /^\\[dwDW]$/.test(to)) return null;
    out += `-${to}`;
  }
  // An empty class matches nothing in ECMAScript and is an error in RE2.
  return members > 0 && reader.takes(']') ? `${out}]` : null;
}

function classMember(reader: Reader): string | null {
  const letter = reader.take();
  if (letter === '\\') {
    const escaped = reader.take();
    return escaped === '-' ? '\\-' : escapeOf(escaped);
  }
  if (letter === '-') return '\\-';
  if (letter === '[' || letter === '^' || letter === '&' || letter === '~') return `\\${letter}`;
  return letter !== '' && !isSurrogate(letter) ? escapeLetter(letter) : null;
}

function repeatOf(reader: Reader): string | null {
  let repeat = '';
  if ('*+?'.includes(reader.letter) && reader.letter !== '') repeat = reader.take();
  else if (reader.takes('{')) {
    let counts = '';
    while (!reader.done && reader.letter !== '}') counts += reader.take();
    reader.take();
    if (counts.split(',').some((count) => Number(count) > 1000)) return null;
    repeat = `{${counts}}`;
  }
  // A lazy repeat matches the same strings; only what it captures differs.
  if (repeat !== '') reader.takes('?');
  return repeat;
}

function isPlain(letter: string): boolean {
  return letter !== '' && !'\\^$.*+?()[]{}|'.includes(letter) && !isSurrogate(letter);
}

function escapeLetter(letter: string): string {
  return letter === ']' || letter === '\\' ? `\\${letter}` : letter;
}

function isSurrogate(letter: string): boolean {
  const code = letter.codePointAt(0) ?? 0;
  return code >= 0xd800 && code <= 0xdfff;
}
