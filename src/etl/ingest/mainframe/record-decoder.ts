import type { RecordField, RecordLayout } from '../../../contracts/copybook/record-layout.ts';
import type { Issue } from '../../../errors.ts';
import type { RecordWalk } from '../decoded-reader.ts';
import type { RowWriter } from '../row-writer.ts';
import type { CodePageName } from './code-pages.ts';
import { badByteAt, type FieldDecoder } from './field-decoder.ts';
import { cellBytesMax, describeEncoding, fieldDecoder } from './field-decoders.ts';
import type { SelectedField } from './mainframe-columns.ts';

const comma = 44;

/** Decodes the selected fields of one record after the other. */
export class RecordDecoder {
  readonly #layout: RecordLayout;
  readonly #selected: readonly SelectedField[];
  readonly #decoders: readonly FieldDecoder[];
  readonly #offsets: Uint32Array;
  readonly #counters: readonly FieldDecoder[];
  /** Elements of each varying table in the record at hand. */
  readonly #counts: number[];
  readonly rowBytesMax: number;

  constructor(layout: RecordLayout, selected: readonly SelectedField[], codePage: CodePageName) {
    this.#layout = layout;
    this.#selected = selected;
    this.#decoders = selected.map(({ field, padded }) => fieldDecoder(field, { codePage, padded }));
    this.#offsets = Uint32Array.from(selected, ({ field }) => field.offset);
    this.#counters = layout.tables.map(({ counter }) =>
      fieldDecoder(layout.fields[counter] as RecordField, { codePage, padded: false }),
    );
    this.#counts = layout.tables.map(({ maximum }) => maximum);
    this.rowBytesMax = selected.reduce((sum, { field }) => sum + cellBytesMax(field), 64);
  }

  /** @returns null, or what is wrong with the record */
  decode(walk: RecordWalk, row: RowWriter): Issue[] | null {
    const { buffer, start } = walk;
    const hasTables = this.#counters.length > 0;
    const problem = hasTables ? (this.#readCounts(walk, row) ?? this.#checkLength(walk)) : this.#checkLength(walk);
    if (problem !== null) return [problem];
    const decoders = this.#decoders;
    const output = row.buffer;
    let { used } = row;
    let issues: Issue[] | null = null;
    for (let at = 0; at < decoders.length; at += 1) {
      output[used++] = comma;
      let offset = this.#offsets[at] as number;
      if (hasTables) {
        const { field } = this.#selected[at] as SelectedField;
        if (field.element !== null && field.element.number > (this.#counts[field.element.table] ?? 0)) continue;
        offset -= this.#shift(field);
      }
      const end = (decoders[at] as FieldDecoder)(buffer, start + offset, output, used);
      if (end < 0) (issues ??= []).push(this.#badByte(walk, at, badByteAt(end)));
      else used = end;
    }
    row.used = used;
    return issues;
  }

  #readCounts(walk: RecordWalk, row: RowWriter): Issue | null {
    for (const [at, { counter, minimum, maximum }] of this.#layout.tables.entries()) {
      const field = this.#layout.fields[counter] as RecordField;
      const begin = walk.start + field.offset - this.#shift(field);
      if (begin + field.length > walk.end) return lengthIssue(walk, `at least ${begin + field.length - walk.start}`);
      const end = (this.#counters[at] as FieldDecoder)(walk.buffer, begin, row.buffer, row.used);
      const count = Number(row.buffer.toString('latin1', row.used, end));
      const place = `(byte ${fileOffset(walk, begin)})`;
      if (end < 0 || count < minimum || count > maximum) {
        const found = end < 0 ? `X"${hex(walk.buffer.subarray(begin, begin + field.length))}"` : String(count);
        const message = `must be ${minimum} to ${maximum}, the elements of its table, found ${found} ${place}`;
        return { path: `/${field.name}`, rule: 'occurs', message };
      }
      this.#counts[at] = count;
    }
    return null;
  }

  #checkLength(walk: RecordWalk): Issue | null {
    const { length, tables } = this.#layout;
    // A plain loop: a function for each record would be most of what decoding leaves to be collected.
    let unused = 0;
    for (let at = 0; at < tables.length; at += 1) unused += this.#unused(tables[at], at);
    if (walk.end - walk.start === length - unused) return null;
    // A file of fixed-length records keeps room for the fullest tables.
    if (unused > 0 && walk.end - walk.start === length && walk.offset === walk.nextOffset - length) return null;
    return lengthIssue(walk, String(length - unused));
  }

  #shift({ after }: RecordField): number {
    let bytes = 0;
    for (const table of after) bytes += this.#unused(this.#layout.tables[table], table);
    return bytes;
  }

  #unused(table: RecordLayout['tables'][number] | undefined, at: number): number {
    return table === undefined ? 0 : (table.maximum - (this.#counts[at] ?? 0)) * table.elementLength;
  }

  #badByte(walk: RecordWalk, at: number, bad: number): Issue {
    const { field, pointer } = this.#selected[at] as SelectedField;
    const byte = hex(walk.buffer.subarray(bad, bad + 1));
    const message =
      `${field.name} must be ${describeEncoding(field.encoding)}, found X"${byte}" at byte ${fileOffset(walk, bad)} ` +
      `(byte ${bad - walk.start + 1} of the record)`;
    return { path: pointer, rule: 'picture', message };
  }
}

/** Where a byte of the window stands in the file; a descriptor word stands before the record. */
function fileOffset(walk: RecordWalk, at: number): number {
  const { nextOffset, end } = walk;
  if (walk.placeOf) return walk.placeOf(at);
  return nextOffset - (end - at);
}

function lengthIssue(walk: RecordWalk, expected: string): Issue {
  const message = `must be ${expected} bytes long by the copybook, found ${walk.end - walk.start} (byte ${walk.offset})`;
  return { path: '', rule: 'length', message };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex').toUpperCase();
}
