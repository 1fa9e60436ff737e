/**
 * Writes and reads Parquet by hand, to hold DuckDB's reading against something that shares nothing with it: row groups of any size, empty
 * ones too, and pages as small as other writers make them. Columns are required; values are plain and not compressed.
 */

/** Parquet's format/PageHeader and FileMetaData in Thrift's compact protocol. */
class Compact {
  readonly #bytes: number[] = [];
  #last = 0;
  readonly #outer: number[] = [];

  get bytes(): Buffer {
    return Buffer.from(this.#bytes);
  }

  int(id: number, value: number, type: 5 | 6 = 5): this {
    this.#field(id, type);
    this.#varint(zigzag(value));
    return this;
  }

  text(id: number, value: string): this {
    this.#field(id, 8);
    this.#text(value);
    return this;
  }

  struct(id: number, fill: (to: this) => void): this {
    this.#field(id, 12);
    this.#nested(fill);
    return this;
  }

  structs<T>(id: number, list: readonly T[], fill: (to: this, each: T) => void): this {
    this.#list(id, list.length, 12);
    for (const each of list) this.#nested((to) => fill(to, each));
    return this;
  }

  ints(id: number, list: readonly number[]): this {
    this.#list(id, list.length, 5);
    for (const value of list) this.#varint(zigzag(value));
    return this;
  }

  texts(id: number, list: readonly string[]): this {
    this.#list(id, list.length, 8);
    for (const value of list) this.#text(value);
    return this;
  }

  end(): this {
    this.#bytes.push(0);
    return this;
  }

  #nested(fill: (to: this) => void): void {
    this.#outer.push(this.#last);
    this.#last = 0;
    fill(this);
    this.end();
    this.#last = this.#outer.pop() ?? 0;
  }

  #list(id: number, length: number, type: number): void {
    this.#field(id, 9);
    if (length < 15) this.#bytes.push((length << 4) | type);
    else {
      this.#bytes.push(0xf0 | type);
      this.#varint(length);
    }
  }

  #text(value: string): void {
    const bytes = Buffer.from(value);
    this.#varint(bytes.length);
    this.#bytes.push(...bytes);
  }

  #field(id: number, type: number): void {
    this.#bytes.push(((id - this.#last) << 4) | type);
    this.#last = id;
  }

  #varint(value: number): void {
    let rest = value;
    for (; rest >= 128; rest = Math.floor(rest / 128)) this.#bytes.push((rest % 128) | 128);
    this.#bytes.push(rest);
  }
}

const zigzag = (value: number): number => (value < 0 ? -2 * value - 1 : 2 * value);
const magic = Buffer.from('PAR1');
const [int64, byteArray] = [2, 6];

export interface HandMade {
  /** Rows of each row group; 0 makes an empty one. */
  groups: readonly number[];
  /** The text of a row, by its number in the file from 0. */
  noteOf(row: number): string;
  rowsPerPage?: number;
}

/** A file with the columns `id` (bigint, from 1) and `note` (text). */
export function handMadeParquet({ groups, noteOf, rowsPerPage = 1_000 }: HandMade): Buffer {
  const parts: Buffer[] = [magic];
  let offset = magic.length;
  let row = 0;
  const add = (bytes: Buffer): void => {
    parts.push(bytes);
    offset += bytes.length;
  };
  const chunk = (name: string, type: number, { first, rows }: { first: number; rows: number }) => {
    const from = offset;
    for (let at = 0; at < rows || (rows === 0 && at === 0); at += rowsPerPage) {
      const count = Math.min(rowsPerPage, rows - at);
      const data = Buffer.concat(
        Array.from({ length: count }, (_each, i) =>
          type === int64 ? int64Of(first + at + i + 1) : byteArrayOf(noteOf(first + at + i)),
        ),
      );
      const page = new Compact()
        .int(1, 0)
        .int(2, data.length)
        .int(3, data.length)
        .struct(5, (to) => to.int(1, count).int(2, 0).int(3, 3).int(4, 3))
        .end();
      add(page.bytes);
      add(data);
    }
    return { name, type, from, bytes: offset - from, rows };
  };
  const written = groups.map((rows) => {
    const place = { first: row, rows };
    const columns = [chunk('id', int64, place), chunk('note', byteArray, place)];
    row += rows;
    return { rows, columns };
  });
  const footer = new Compact()
    .int(1, 1)
    .structs(2, ['schema', 'id', 'note'], (to, name) => {
      if (name === 'schema') to.text(4, name).int(5, 2);
      else if (name === 'id') to.int(1, int64).int(3, 0).text(4, name);
      else to.int(1, byteArray).int(3, 0).text(4, name).int(6, 0);
    })
    .int(3, row, 6)
    .structs(4, written, (to, { rows, columns }) => {
      to.structs(1, columns, (one, { name, type, from, bytes, rows: values }) => {
        one.int(2, from, 6).struct(3, (meta) => {
          meta.int(1, type).ints(2, [0, 3]).texts(3, [name]).int(4, 0).int(5, values, 6);
          meta.int(6, bytes, 6).int(7, bytes, 6).int(9, from, 6);
        });
      });
      to.int(
        2,
        columns.reduce((sum, { bytes }) => sum + bytes, 0),
        6,
      ).int(3, rows, 6);
    })
    .end().bytes;
  const length = Buffer.alloc(4);
  length.writeUInt32LE(footer.length);
  return Buffer.concat([...parts, footer, length, magic]);
}

function int64Of(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(BigInt(value));
  return bytes;
}

function byteArrayOf(text: string): Buffer {
  const bytes = Buffer.from(text);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** Rows of each row group, as the file's own footer counts them, whoever wrote it. */
export function rowGroupsOf(file: Buffer): number[] {
  const length = file.readUInt32LE(file.length - 8);
  const reader = new Reader(file.subarray(file.length - 8 - length, file.length - 8));
  const groups = reader.struct().get(4) as Map<number, unknown>[];
  return groups.map((group) => group.get(3) as number);
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  struct(): Map<number, unknown> {
    const fields = new Map<number, unknown>();
    let id = 0;
    for (let head = this.#byte(); head !== 0; head = this.#byte()) {
      id = head >> 4 === 0 ? this.#zigzag() : id + (head >> 4);
      const type = head & 15;
      fields.set(id, type < 3 ? type === 1 : this.#value(type));
    }
    return fields;
  }

  #value(type: number): unknown {
    if (type < 4) return this.#byte();
    if (type < 7) return this.#zigzag();
    if (type === 7) return this.#skip(8);
    if (type === 8) return this.#skip(this.#varint());
    if (type === 12) return this.struct();
    if (type !== 9 && type !== 10) throw new Error(`Thrift type ${type} was not expected`);
    const head = this.#byte();
    const count = head >> 4 === 15 ? this.#varint() : head >> 4;
    return Array.from({ length: count }, () => this.#value(head & 15));
  }

  #skip(count: number): Buffer {
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }

  #byte(): number {
    return this.#bytes[this.#at++] ?? 0;
  }

  #varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#byte();
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  }

  #zigzag(): number {
    const value = this.#varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }
}
