import { type CopybookEntry, readEntries, type Sign, type Usage } from './copybook-entries.ts';
import { copybookProblem } from './copybook-words.ts';

/** How a field's bytes are to be read. */
export type Encoding =
  | { kind: 'text' }
  | ({ kind: 'zoned'; digits: number; scale: number; signed: boolean; blankWhenZero: boolean } & Sign)
  | { kind: 'packed'; digits: number; scale: number; signed: boolean }
  /** Big-endian. `native` (COMP-5) holds all that its bytes can; the others only what the picture says. */
  | { kind: 'binary'; digits: number; scale: number; signed: boolean; native: boolean };

/** A field that holds data: no group, no FILLER; one for each element of a table. */
export interface RecordField {
  /** Unique in the record; elements of tables end in their numbers: AMOUNT-3. */
  name: string;
  line: number;
  /** In a record whose tables are all full, from 0. */
  offset: number;
  length: number;
  encoding: Encoding;
  /** The field is another view of bytes that an earlier one has. */
  redefines: boolean;
  /** Its table and its number there, from 1, where the table's length varies. */
  element: { table: number; number: number } | null;
  /** Tables of varying length that end before it. */
  after: readonly number[];
}

export interface VaryingTable {
  /** Index of the field that holds the number of elements. */
  counter: number;
  minimum: number;
  maximum: number;
  elementLength: number;
}

export interface RecordLayout {
  fields: readonly RecordField[];
  tables: readonly VaryingTable[];
  /** Bytes of the longest record. */
  length: number;
}

const fieldCountMax = 10_000;
const recordLengthMax = 8 * 1024 * 1024;

interface Node {
  entry: CopybookEntry;
  children: Node[];
  usage: Usage | null;
  sign: Sign | null;
}

/**
 * Reads a copybook with one record into places in bytes.
 *
 * @throws INVALID_INPUT naming the line and the clause
 */
export function readCopybook(text: string): RecordLayout {
  return new LayoutBuilder().build(asTree(readEntries(text)));
}

function asTree(entries: readonly CopybookEntry[]): Node[] {
  const roots: Node[] = [];
  const open: Node[] = [];
  for (const entry of entries) {
    const level = entry.level === 77 ? 1 : entry.level;
    while ((open.at(-1)?.entry.level ?? 0) >= level) open.pop();
    const parent = open.at(-1);
    if (parent !== undefined && parent.entry.picture !== null) {
      throw copybookProblem(
        entry.line,
        `puts a level ${entry.level} under line ${parent.entry.line}, which has a PIC and so no parts.`,
      );
    }
    const node = {
      entry,
      children: [],
      usage: entry.usage ?? parent?.usage ?? null,
      sign: entry.sign ?? parent?.sign ?? null,
    };
    (parent?.children ?? roots).push(node);
    open.push(node);
  }
  const second = roots.filter(({ entry }) => entry.level === 1 || entry.level === 77)[1];
  if (second !== undefined) {
    throw copybookProblem(second.entry.line, 'begins a second record (level 01). Keep the one that the source holds.');
  }
  return roots;
}

/** Where a node stands: in which elements, behind which tables. */
interface Place {
  offset: number;
  suffix: string;
  groups: readonly string[];
  element: RecordField['element'];
  after: readonly number[];
  redefines: boolean;
}

class LayoutBuilder {
  readonly #fields: RecordField[] = [];
  readonly #groups: (readonly string[])[] = [];
  readonly #tables: VaryingTable[] = [];
  readonly #lengths = new Map<Node, number>();

  build(roots: readonly Node[]): RecordLayout {
    const place = { offset: 0, suffix: '', groups: [], element: null, after: [], redefines: false };
    const { length } = this.#placeAll(roots, place);
    if (length > recordLengthMax) {
      throw copybookProblem(
        roots[0]?.entry.line ?? 1,
        `describes a record of ${length} bytes; at most ${recordLengthMax} are allowed.`,
      );
    }
    const fields = uniqueNames(this.#fields, this.#groups);
    if (fields.length === 0)
      throw copybookProblem(roots[0]?.entry.line ?? 1, 'describes a record without any named field.');
    return { fields, tables: this.#tables, length };
  }

  /** Places siblings one after the other, or over the one that they redefine. */
  #placeAll(nodes: readonly Node[], place: Place): { length: number; after: readonly number[] } {
    let end = 0;
    let after = place.after;
    const starts = new Map<string, { at: number; length: number; after: readonly number[] }>();
    for (const node of nodes) {
      const { entry } = node;
      const target = entry.redefines === null ? null : starts.get(entry.redefines);
      if (target === undefined) {
        throw copybookProblem(
          entry.line,
          `has REDEFINES ${entry.redefines}, which is no item of the same level before it.`,
        );
      }
      const at = target?.at ?? end;
      const here = {
        ...place,
        offset: place.offset + at,
        after: target?.after ?? after,
        redefines: place.redefines || target !== null,
      };
      const tablesBefore = this.#tables.length;
      const length = this.#placeNode(node, here);
      if (target !== null && (this.#tables.length > tablesBefore || length > target.length)) {
        const problem =
          length > target.length ? `takes ${length} bytes where ${target.length} are` : 'holds OCCURS DEPENDING ON';
        throw copybookProblem(entry.line, `has REDEFINES ${entry.redefines}, but ${problem}.`);
      }
      if (entry.name !== null && target === null) starts.set(entry.name, { at, length, after: here.after });
      if (target === null) {
        end += length;
        for (let table = tablesBefore; table < this.#tables.length; table += 1) after = [...after, table];
      }
    }
    return { length: end, after };
  }

  /** @returns bytes, all elements of a table together */
  #placeNode(node: Node, place: Place): number {
    const { occurs, name, line } = node.entry;
    const groups = name === null ? place.groups : [...place.groups, name];
    if (occurs === null) return this.#placeOne(node, { ...place, groups });
    const table = occurs.dependingOn === null ? null : this.#openTable(node, place);
    const elementLength = this.#lengthOf(node);
    if (this.#fields.length + occurs.maximum > fieldCountMax) {
      throw copybookProblem(line, `has OCCURS ${occurs.maximum}, which makes more than ${fieldCountMax} fields.`);
    }
    for (let number = 1; number <= occurs.maximum; number += 1) {
      this.#placeOne(node, {
        ...place,
        groups,
        offset: place.offset + (number - 1) * elementLength,
        suffix: `${place.suffix}-${number}`,
        element: table === null ? place.element : { table, number },
      });
    }
    return elementLength * occurs.maximum;
  }

  #openTable(node: Node, place: Place): number {
    const { line, occurs } = node.entry;
    const name = occurs?.dependingOn ?? '';
    if (place.suffix !== '' || hasVaryingTable(node.children)) {
      throw copybookProblem(line, 'has OCCURS DEPENDING ON within another OCCURS, which is not offered yet.');
    }
    const counter = this.#fields.findIndex((field) => field.name === name && field.element === null);
    const encoding = this.#fields[counter]?.encoding;
    if (encoding === undefined || encoding.kind === 'text' || encoding.scale > 0) {
      throw copybookProblem(line, `has OCCURS DEPENDING ON ${name}, which is no integer field before it.`);
    }
    const { minimum = 0, maximum = 0 } = occurs ?? {};
    this.#tables.push({ counter, minimum, maximum, elementLength: this.#lengthOf(node) });
    return this.#tables.length - 1;
  }

  #placeOne(node: Node, place: Place): number {
    const { entry } = node;
    if (entry.picture === null) {
      if (node.children.length === 0)
        throw copybookProblem(entry.line, `names ${entry.name ?? 'FILLER'} with neither a PIC nor parts.`);
      return this.#placeAll(node.children, place).length;
    }
    const { encoding, length } = encodingOf(node);
    if (entry.name !== null) {
      const { offset, element, after, redefines } = place;
      this.#fields.push({
        name: entry.name + place.suffix,
        line: entry.line,
        offset,
        length,
        encoding,
        redefines,
        element,
        after,
      });
      this.#groups.push(place.groups.slice(0, -1).map((group) => group + place.suffix));
      if (this.#fields.length > fieldCountMax)
        throw copybookProblem(entry.line, `makes more than ${fieldCountMax} fields.`);
    }
    return length;
  }

  /** Bytes of one element. Computed by a builder of its own, so that nothing is placed twice. */
  #lengthOf(node: Node): number {
    const known = this.#lengths.get(node);
    if (known !== undefined) return known;
    const place = { offset: 0, suffix: '-0', groups: [], element: null, after: [], redefines: false };
    const length = new LayoutBuilder().#placeOne(node, place);
    this.#lengths.set(node, length);
    return length;
  }
}

function hasVaryingTable(nodes: readonly Node[]): boolean {
  return nodes.some(({ entry, children }) => (entry.occurs?.dependingOn ?? null) !== null || hasVaryingTable(children));
}

function encodingOf({ entry, usage, sign }: Node): { encoding: Encoding; length: number } {
  const { picture, line, blankWhenZero } = entry;
  if (picture === null || picture.category === 'text') {
    if (usage !== null && usage !== 'display' && entry.usage !== null) {
      throw copybookProblem(line, `has a binary or packed usage, but a PIC of text.`);
    }
    return { encoding: { kind: 'text' }, length: picture?.length ?? 0 };
  }
  const { digits, scale, signed } = picture;
  if (usage === 'packed')
    return { encoding: { kind: 'packed', digits, scale, signed }, length: Math.floor(digits / 2) + 1 };
  if (usage === 'binary' || usage === 'native') {
    if (digits > 18) throw copybookProblem(line, `asks for ${digits} binary digits; at most 18 are allowed.`);
    const length = digits <= 4 ? 2 : digits <= 9 ? 4 : 8;
    return { encoding: { kind: 'binary', digits, scale, signed, native: usage === 'native' }, length };
  }
  if (entry.sign !== null && !signed) throw copybookProblem(line, 'has a SIGN clause, but a PIC without S.');
  const { leading = false, separate = false } = signed ? (sign ?? {}) : {};
  return {
    encoding: { kind: 'zoned', digits, scale, signed, leading, separate, blankWhenZero },
    length: digits + (separate ? 1 : 0),
  };
}

/** A name that several fields have gets the names of its groups in front, the nearest first, until it is the only one. */
function uniqueNames(fields: readonly RecordField[], groups: readonly (readonly string[])[]): RecordField[] {
  const count = new Map<string, number>();
  for (const { name } of fields) count.set(name, (count.get(name) ?? 0) + 1);
  const taken = new Map<string, RecordField>();
  return fields.map((field, at) => {
    const around = [...(groups[at] ?? [])];
    let { name } = field;
    if ((count.get(name) ?? 0) > 1) name = `${around.pop() ?? ''}-${name}`;
    while (taken.has(name) && around.length > 0) name = `${around.pop() ?? ''}-${name}`;
    const other = taken.get(name);
    if (other !== undefined)
      throw copybookProblem(field.line, `names ${field.name} again, as line ${other.line} does. Rename one.`);
    const named = { ...field, name };
    taken.set(name, named);
    return named;
  });
}
