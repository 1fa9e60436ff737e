import { DuckDBDateValue, DuckDBTimestampTZValue, DuckDBTimestampValue, type DuckDBValue } from '@duckdb/node-api';
import duckdb from '@duckdb/node-bindings';
import { letGo, readValidity, vectorRowCountMax } from '../duckdb/vector-data.ts';
import type { OutputType } from '../engine-types.ts';
import type { ContractField, FieldKind } from '../ingest/contract-model.ts';
import {
  booleanBytes,
  dayBytes,
  longBytes,
  nullBytes,
  putBoolean,
  putDay,
  putDouble,
  putInteger,
  putMoment,
  putNull,
} from './copy-format.ts';
import { allowsOnlyNull, annotations, anyNumber, type NumberRule, numberRule, sureValue } from './sure-value.ts';
import { TextCells } from './text-cells.ts';

/** What is known of a chunk's rows while its columns are looked at one after the other. */
export interface RowVerdicts {
  /** Of each row: 1 while it is surely good. */
  sure: Uint8Array;
  /** Of each row: the bytes of its cells in COPY's format. */
  bytes: Int32Array;
}

/** Where the cells of some rows go. */
export interface RowTarget {
  /** The rows' places in the chunk. */
  rows: Uint16Array;
  /** Of each row of the chunk: where its next cell goes. */
  cursors: Int32Array;
  view: DataView;
  /** The same memory. */
  bytes: Uint8Array;
}

/** The cells of one column of a data chunk: all are judged, and then those of rows that are surely good are written. */
export interface VectorCells {
  /** Takes the first rows of a vector, in place of those before. */
  read(vector: duckdb.Vector, rowCount: number, verdicts: RowVerdicts): void;
  /** A row's value as DuckDB's interface has it. undefined: the vector itself is to be asked. */
  valueAt(row: number): DuckDBValue | undefined;
  /** Writes a cell of each row, and puts its cursor behind it. Bytes behind that may be overwritten, as many as a long cell takes. */
  write(target: RowTarget): void;
}

interface VectorColumn {
  field: ContractField | null;
  /** DuckDB's. */
  type: string;
  /** Of the column that takes it. */
  output: OutputType;
}

/** @returns null: nothing here can be sure of such a column */
export function vectorCells({ field, type, output }: VectorColumn): VectorCells | null {
  const mayBeNull = field === null || !field.required || field.nullAllowed;
  const time = timeTypes[type];
  if (time !== undefined) {
    if (time.output !== output || !asksOnly(field, time.format)) return null;
    return type === 'DATE'
      ? new NumberCells(days, anyNumber, mayBeNull)
      : new MomentCells(output === 'timestamptz', mayBeNull);
  }
  const plain = plainTypes[type];
  if (plain === undefined) return null;
  const { kind, keywords } =
    field === null || field.kind === 'any' ? { keywords: {}, ...field, kind: plain.kind } : field;
  if (kind !== plain.kind && !(kind === 'number' && plain.kind === 'integer')) return null;
  const value = sureValue({ kind, keywords });
  const { numbers } = plain;
  if (value === null || (numbers?.output ?? value.type) !== output) return null;
  if (numbers !== undefined) {
    const rule = numberRule(kind as 'integer' | 'number', keywords);
    return rule && new NumberCells(numbers, rule, mayBeNull);
  }
  return value.type === 'boolean' ? new BooleanCells(mayBeNull) : new TextCells(value, mayBeNull);
}

/** Numbers of a vector, in place of those before: NaN where a double does not hold one exactly. */
type ReadNumbers = (data: Uint8Array, into: Float64Array) => void;

interface NumberVector {
  output: 'bigint' | 'double precision' | 'date';
  bytes: number;
  read: ReadNumbers;
  /** One of them as it is. Absent: as it was read. */
  exact?(data: Uint8Array, row: number): DuckDBValue;
}

interface FixedArray extends ArrayLike<number> {
  readonly BYTES_PER_ELEMENT: number;
}

function integers(of: {
  new (buffer: ArrayBufferLike, from: number, count: number): FixedArray;
  BYTES_PER_ELEMENT: number;
}): {
  kind: FieldKind;
  numbers: NumberVector;
} {
  const bytes = of.BYTES_PER_ELEMENT;
  const read: ReadNumbers = ({ buffer, byteOffset, length }, into) =>
    into.set(new of(buffer, byteOffset, length / bytes));
  return { kind: 'integer', numbers: { output: 'bigint', bytes, read } };
}

export function readLongIntegers({ buffer, byteOffset, length }: Uint8Array, into: Float64Array): void {
  const low = new Uint32Array(buffer, byteOffset, length / 4);
  const high = new Int32Array(buffer, byteOffset, length / 4);
  for (let at = 0; at * 8 < length; at += 1) {
    const value = (high[at * 2 + 1] as number) * 2 ** 32 + (low[at * 2] as number);
    into[at] = Number.isSafeInteger(value) ? value : NaN;
  }
}

const plainTypes: Readonly<Record<string, { kind: FieldKind; numbers?: NumberVector }>> = {
  VARCHAR: { kind: 'string' },
  BOOLEAN: { kind: 'boolean' },
  TINYINT: integers(Int8Array),
  SMALLINT: integers(Int16Array),
  INTEGER: integers(Int32Array),
  BIGINT: {
    kind: 'integer',
    numbers: {
      output: 'bigint',
      bytes: 8,
      read: readLongIntegers,
      exact: (data, row) => viewOf(data).getBigInt64(row * 8, true),
    },
  },
  UTINYINT: integers(Uint8Array),
  USMALLINT: integers(Uint16Array),
  UINTEGER: integers(Uint32Array),
  DOUBLE: {
    kind: 'number',
    numbers: {
      output: 'double precision',
      bytes: 8,
      read: ({ buffer, byteOffset, length }, into) => into.set(new Float64Array(buffer, byteOffset, length / 8)),
    },
  },
};

/** Times that the source has as such. */
const timeTypes: Readonly<Record<string, { output: OutputType; format: string }>> = {
  DATE: { output: 'date', format: 'date' },
  TIMESTAMP: { output: 'timestamp', format: 'local-date-time' },
  'TIMESTAMP WITH TIME ZONE': { output: 'timestamptz', format: 'date-time' },
};

/** Whether all that is asked of a text is that it be such a time, which the source's type says. */
function asksOnly(field: ContractField | null, format: string): boolean {
  if (field === null) return true;
  if (field.kind !== 'string' && field.kind !== 'any') return false;
  // Of `type: null` nothing that is there is good, and its kind is any.
  if (allowsOnlyNull(field.keywords)) return false;
  const others = Object.keys(field.keywords).filter((keyword) => keyword !== 'type' && !annotations.has(keyword));
  return others.every((keyword) => keyword === 'format' && field.keywords.format === format);
}

/** In days since 1970-01-01: the years 1 to 9999, and the day that PostgreSQL counts from. */
const [dayMin, dayEnd, dayZero] = [-719_162, 2_932_897, 10_957];

const viewOf = ({ buffer, byteOffset, length }: Uint8Array): DataView => new DataView(buffer, byteOffset, length);

const days: NumberVector = {
  output: 'date',
  bytes: 4,
  read({ buffer, byteOffset, length }, into) {
    const found = new Int32Array(buffer, byteOffset, length / 4);
    for (let at = 0; at < found.length; at += 1) {
      const day = found[at] as number;
      into[at] = day >= dayMin && day < dayEnd ? day - dayZero : NaN;
    }
  },
  exact: (data, row) => new DuckDBDateValue(viewOf(data).getInt32(row * 4, true)),
};

class NumberCells implements VectorCells {
  readonly #vector: NumberVector;
  readonly #rule: NumberRule;
  readonly #mayBeNull: boolean;
  readonly #there = new Uint8Array(vectorRowCountMax);
  readonly #values = new Float64Array(vectorRowCountMax);
  #data = new Uint8Array(0);

  constructor(vector: NumberVector, rule: NumberRule, mayBeNull: boolean) {
    this.#vector = vector;
    this.#rule = rule;
    this.#mayBeNull = mayBeNull;
  }

  read(vector: duckdb.Vector, rowCount: number, { sure, bytes }: RowVerdicts): void {
    const [there, values] = [this.#there, this.#values];
    const { least, most, others } = this.#rule;
    const cellBytes = this.#vector.output === 'date' ? dayBytes : longBytes;
    readValidity(vector, rowCount, there);
    letGo(this.#data);
    this.#data = duckdb.vector_get_data(vector, rowCount * this.#vector.bytes) as Uint8Array<ArrayBuffer>;
    this.#vector.read(this.#data, values);
    for (let row = 0; row < rowCount; row += 1) {
      const isThere = there[row] === 1;
      const value = values[row] as number;
      const isGood = value >= least && value <= most && (others === null || others(value));
      if (isThere ? !isGood : !this.#mayBeNull) sure[row] = 0;
      bytes[row] = (bytes[row] as number) + (isThere ? cellBytes : nullBytes);
    }
  }

  valueAt(row: number): DuckDBValue {
    if (this.#there[row] === 0) return null;
    return this.#vector.exact?.(this.#data, row) ?? (this.#values[row] as number);
  }

  write({ rows, cursors, view }: RowTarget): void {
    const [there, values, { output }] = [this.#there, this.#values, this.#vector];
    for (const row of rows) {
      const at = cursors[row] as number;
      const value = values[row] as number;
      if (there[row] === 0) cursors[row] = putNull(view, at);
      else if (output === 'bigint') cursors[row] = putInteger(view, at, value);
      else if (output === 'date') cursors[row] = putDay(view, at, value);
      else cursors[row] = putDouble(view, at, value);
    }
  }
}

class BooleanCells implements VectorCells {
  readonly #mayBeNull: boolean;
  readonly #there = new Uint8Array(vectorRowCountMax);
  #values = new Uint8Array(0);

  constructor(mayBeNull: boolean) {
    this.#mayBeNull = mayBeNull;
  }

  read(vector: duckdb.Vector, rowCount: number, { sure, bytes }: RowVerdicts): void {
    readValidity(vector, rowCount, this.#there);
    letGo(this.#values);
    this.#values = duckdb.vector_get_data(vector, rowCount) as Uint8Array<ArrayBuffer>;
    for (let row = 0; row < rowCount; row += 1) {
      const isThere = this.#there[row] === 1;
      if (!isThere && !this.#mayBeNull) sure[row] = 0;
      bytes[row] = (bytes[row] as number) + (isThere ? booleanBytes : nullBytes);
    }
  }

  valueAt(row: number): DuckDBValue {
    return this.#there[row] === 0 ? null : this.#values[row] !== 0;
  }

  write({ rows, cursors, view }: RowTarget): void {
    for (const row of rows) {
      const at = cursors[row] as number;
      cursors[row] = this.#there[row] === 0 ? putNull(view, at) : putBoolean(view, at, this.#values[row] !== 0);
    }
  }
}

const microsecondsADay = 86_400_000_000n;
const [momentMin, momentEnd] = [BigInt(dayMin) * microsecondsADay, BigInt(dayEnd) * microsecondsADay];
const momentZero = BigInt(dayZero) * microsecondsADay;

/** Microseconds since 1970-01-01. */
class MomentCells implements VectorCells {
  readonly #hasZone: boolean;
  readonly #mayBeNull: boolean;
  readonly #there = new Uint8Array(vectorRowCountMax);
  #values = new BigInt64Array(0);

  constructor(hasZone: boolean, mayBeNull: boolean) {
    this.#hasZone = hasZone;
    this.#mayBeNull = mayBeNull;
  }

  read(vector: duckdb.Vector, rowCount: number, { sure, bytes }: RowVerdicts): void {
    readValidity(vector, rowCount, this.#there);
    letGo(this.#values);
    const { buffer, byteOffset } = duckdb.vector_get_data(vector, rowCount * 8);
    this.#values = new BigInt64Array(buffer as ArrayBuffer, byteOffset, rowCount);
    for (let row = 0; row < rowCount; row += 1) {
      const isThere = this.#there[row] === 1;
      const value = this.#values[row] as bigint;
      if (isThere ? value < momentMin || value >= momentEnd : !this.#mayBeNull) sure[row] = 0;
      bytes[row] = (bytes[row] as number) + (isThere ? longBytes : nullBytes);
    }
  }

  valueAt(row: number): DuckDBValue {
    if (this.#there[row] === 0) return null;
    const value = this.#values[row] as bigint;
    return this.#hasZone ? new DuckDBTimestampTZValue(value) : new DuckDBTimestampValue(value);
  }

  write({ rows, cursors, view }: RowTarget): void {
    for (const row of rows) {
      const at = cursors[row] as number;
      cursors[row] =
        this.#there[row] === 0 ? putNull(view, at) : putMoment(view, at, (this.#values[row] as bigint) - momentZero);
    }
  }
}
