import { copybookProblem, type CopybookWord, copybookWords } from './copybook-words.ts';
import { type Picture, readPicture } from './picture.ts';

export type Usage = 'display' | 'binary' | 'native' | 'packed';
export interface Sign {
  leading: boolean;
  separate: boolean;
}
export interface Occurs {
  minimum: number;
  maximum: number;
  dependingOn: string | null;
}

/** One entry as it is written; what it inherits from its group is not in it yet. */
export interface CopybookEntry {
  line: number;
  level: number;
  /** Null: FILLER. */
  name: string | null;
  redefines: string | null;
  picture: Picture | null;
  usage: Usage | null;
  sign: Sign | null;
  occurs: Occurs | null;
  blankWhenZero: boolean;
}

const usages: Readonly<Record<string, Usage>> = {
  DISPLAY: 'display',
  COMP: 'binary',
  COMPUTATIONAL: 'binary',
  BINARY: 'binary',
  'COMP-4': 'binary',
  'COMPUTATIONAL-4': 'binary',
  'COMP-5': 'native',
  'COMPUTATIONAL-5': 'native',
  'COMP-3': 'packed',
  'COMPUTATIONAL-3': 'packed',
  'PACKED-DECIMAL': 'packed',
};
const otherUsages =
  /^(COMP(UTATIONAL)?-[1269]|DISPLAY-1|INDEX|NATIONAL|POINTER|PROCEDURE-POINTER|FUNCTION-POINTER|OBJECT)$/;
const clauseWords = new Set([
  ...Object.keys(usages),
  ...'REDEFINES PIC PICTURE USAGE OCCURS SIGN LEADING TRAILING VALUE VALUES JUSTIFIED JUST BLANK SYNC SYNCHRONIZED GLOBAL EXTERNAL'.split(
    ' ',
  ),
]);
const occursMax = 10_000;

/** The entries in order, without those that keep no data (66, 78, 88). @throws INVALID_INPUT naming line and clause */
export function readEntries(text: string): CopybookEntry[] {
  const words = copybookWords(text);
  const entries: CopybookEntry[] = [];
  let from = 0;
  for (const [at, word] of words.entries()) {
    if (word.text !== '.') continue;
    if (at > from) entries.push(...readEntry(words.slice(from, at)));
    from = at + 1;
  }
  const open = words[from];
  if (open !== undefined) throw copybookProblem(open.line, `begins an entry ("${open.text}") that no full stop ends.`);
  if (entries.length === 0) throw copybookProblem(1, 'begins a text without any entry. Expected one like 01 RECORD.');
  return entries;
}

function readEntry(words: readonly CopybookWord[]): CopybookEntry[] {
  const first = words.findIndex(({ text }) => !/^(EJECT|SKIP[123])$/.test(text));
  const [head] = words.slice(first);
  if (first === -1 || head === undefined) return [];
  if (head.text === 'COPY' || head.text === 'REPLACE') {
    throw copybookProblem(
      head.line,
      `holds ${head.text}, which is not expanded here. Put the text itself in its place.`,
    );
  }
  if (!/^\d{1,2}$/.test(head.text))
    throw copybookProblem(head.line, `begins with "${head.text}"; expected a level number.`);
  const level = Number(head.text);
  if (level === 66 || level === 78 || level === 88) return [];
  if (level === 0 || (level > 49 && level !== 77)) {
    throw copybookProblem(head.line, `has the level ${head.text}; expected 01 to 49, 66, 77 or 88.`);
  }
  return [new EntryReader(words.slice(first + 1), head.line, level).read()];
}

/** Goes through the words of one entry, clause by clause. */
class EntryReader {
  readonly #words: readonly CopybookWord[];
  readonly #entry: CopybookEntry;
  #at = 0;
  #line: number;

  constructor(words: readonly CopybookWord[], line: number, level: number) {
    this.#words = words;
    this.#line = line;
    this.#entry = {
      line,
      level,
      name: null,
      redefines: null,
      picture: null,
      usage: null,
      sign: null,
      occurs: null,
      blankWhenZero: false,
    };
  }

  read(): CopybookEntry {
    const name = this.#peek();
    if (name !== null && !clauseWords.has(name)) {
      this.#next('a name');
      if (!/^[A-Z0-9][A-Z0-9_-]*$/.test(name)) throw this.#problem(`names "${name}", which is not a data name.`);
      this.#entry.name = name === 'FILLER' ? null : name;
    }
    while (this.#peek() !== null) this.#readClause(this.#next('a clause'));
    return this.#entry;
  }

  #readClause(word: string): void {
    const entry = this.#entry;
    const usage = usages[word];
    if (usage !== undefined) entry.usage = usage;
    else if (word === 'USAGE') this.#readUsage();
    else if (otherUsages.test(word)) throw this.#problem(`asks for ${word}, which is not offered yet.`);
    else if (word === 'REDEFINES') entry.redefines = this.#next('a name after REDEFINES');
    else if (word === 'PIC' || word === 'PICTURE') {
      this.#skip('IS');
      const clause = this.#next('a picture after PIC');
      entry.picture = readPicture(clause, this.#line);
    } else if (word === 'OCCURS') this.#readOccurs();
    else if (word === 'SIGN') {
      this.#skip('IS');
      this.#readSign(this.#next('LEADING or TRAILING after SIGN'));
    } else if (word === 'LEADING' || word === 'TRAILING') this.#readSign(word);
    else if (word === 'VALUE' || word === 'VALUES') this.#skipUntilClause();
    else if (word === 'JUSTIFIED' || word === 'JUST') this.#skip('RIGHT');
    else if (word === 'BLANK') {
      this.#skip('WHEN');
      const zero = this.#next('ZERO after BLANK WHEN');
      if (!/^ZERO(E?S)?$/.test(zero)) throw this.#problem(`has BLANK WHEN ${zero}; expected BLANK WHEN ZERO.`);
      entry.blankWhenZero = true;
    } else if (word === 'SYNC' || word === 'SYNCHRONIZED') {
      throw this.#problem(`has ${word}, whose slack bytes are not offered yet. Write them as FILLER and leave it out.`);
    } else if (word !== 'GLOBAL' && word !== 'EXTERNAL')
      throw this.#problem(`has the clause "${word}", which is not known.`);
  }

  #readUsage(): void {
    this.#skip('IS');
    const word = this.#next('a usage after USAGE');
    const usage = usages[word];
    if (usage === undefined) throw this.#problem(`asks for USAGE ${word}, which is not offered.`);
    this.#entry.usage = usage;
  }

  #readSign(place: string): void {
    if (place !== 'LEADING' && place !== 'TRAILING')
      throw this.#problem(`has SIGN ${place}; expected LEADING or TRAILING.`);
    const separate = this.#skip('SEPARATE');
    if (separate) this.#skip('CHARACTER');
    this.#entry.sign = { leading: place === 'LEADING', separate };
  }

  #readOccurs(): void {
    const first = this.#number('OCCURS');
    const maximum = this.#skip('TO') ? this.#number('TO') : first;
    this.#skip('TIMES');
    let dependingOn: string | null = null;
    if (this.#skip('DEPENDING')) {
      this.#skip('ON');
      dependingOn = this.#next('a name after DEPENDING ON');
    }
    if (maximum < 1 || maximum > occursMax) {
      throw this.#problem(`has OCCURS ${maximum}; expected 1 to ${occursMax} times.`);
    }
    if (dependingOn === null && maximum !== first) {
      throw this.#problem(`has OCCURS ${first} TO ${maximum} without DEPENDING ON.`);
    }
    // IBM's shortest form: OCCURS 5 DEPENDING ON N is 1 to 5.
    const minimum = dependingOn !== null && maximum === first ? 1 : first;
    if (minimum > maximum) throw this.#problem(`has OCCURS ${minimum} TO ${maximum}, which ends before it begins.`);
    this.#entry.occurs = { minimum, maximum, dependingOn };
    for (let word = this.#peek(); word !== null && /^(ASCENDING|DESCENDING|INDEXED)$/.test(word); word = this.#peek()) {
      this.#next('');
      this.#skipUntilClause();
    }
  }

  #skipUntilClause(): void {
    for (let word = this.#peek(); word !== null; word = this.#peek()) {
      if (clauseWords.has(word) || /^(ASCENDING|DESCENDING|INDEXED)$/.test(word)) return;
      this.#at += 1;
    }
  }

  #number(clause: string): number {
    const word = this.#next(`a number after ${clause}`);
    if (!/^\d{1,9}$/.test(word)) throw this.#problem(`has ${clause} ${word}; expected a number.`);
    return Number(word);
  }

  #peek(): string | null {
    return this.#words[this.#at]?.text ?? null;
  }

  #next(expected: string): string {
    const word = this.#words[this.#at];
    if (word === undefined) throw this.#problem(`ends where ${expected} is expected.`);
    this.#line = word.line;
    this.#at += 1;
    return word.text;
  }

  #skip(word: string): boolean {
    if (this.#peek() !== word) return false;
    this.#at += 1;
    return true;
  }

  #problem(text: string): Error {
    return copybookProblem(this.#line, text);
  }
}
