import { existsSync, readFileSync } from 'node:fs';

import type { Batch, OutputColumn } from '../../src/etl/engine-types.ts';
import { parseCsv } from './csv.ts';

type Cells = (string | null)[];

/** In microseconds. */
const second = 1_000_000n;

/**
 * A batch's good records as COPY gets them, in both files: each record's number, and its cells in the order of the plan's columns, written
 * as PostgreSQL would write them, sorted by number.
 */
export function goodRows(
  batch: Pick<Batch, 'goodFile' | 'binaryFile' | 'columns'>,
  columns: readonly OutputColumn[],
): Cells[] {
  const places = columns.map(({ name }) => batch.columns.indexOf(name) + 1);
  const types = typesOf(batch, columns);
  const written = existsSync(batch.goodFile) ? parseCsv(readFileSync(batch.goodFile, 'utf8')) : [];
  return [...written, ...madeRows(batch, types)]
    .map((row) => [row[0] ?? null, ...places.map((at) => row[at] ?? null)])
    .sort(([one], [other]) => Number(one) - Number(other));
}

/** The numbers of the records in the binary file. */
export function madeRecords(batch: Pick<Batch, 'binaryFile' | 'columns'>, columns: readonly OutputColumn[]): number[] {
  return madeRows(batch, typesOf(batch, columns)).map(([record]) => Number(record));
}

function madeRows({ binaryFile }: Pick<Batch, 'binaryFile'>, types: readonly OutputColumn['type'][]): Cells[] {
  if (!binaryFile) return [];
  const rows = binaryRows(readFileSync(binaryFile.path), ['bigint', ...types]);
  if (rows.length !== binaryFile.count)
    throw new Error(`${String(rows.length)} rows, announced as ${String(binaryFile.count)}`);
  return rows;
}

function typesOf(batch: Pick<Batch, 'columns'>, columns: readonly OutputColumn[]): OutputColumn['type'][] {
  return batch.columns.map((name) => columns.find((column) => column.name === name)?.type ?? 'text');
}

/** The whole numbers in column `id` of a batch's good records. */
export function goodIds(batch: Parameters<typeof goodRows>[0]): number[] {
  return goodRows(batch, [{ name: 'id', type: 'bigint' }]).map(([, id]) => Number(id));
}

/** The files in which a batch's good records are. */
export const goodFiles = ({ goodFile, binaryFile }: Pick<Batch, 'goodFile' | 'binaryFile'>): string[] =>
  [goodFile, ...(binaryFile ? [binaryFile.path] : [])].filter((path) => existsSync(path));

/** Rows of COPY's binary format (PostgreSQL, COPY, "Binary Format"), by the rules of the manual alone. */
export function binaryRows(bytes: Buffer, types: readonly OutputColumn['type'][]): Cells[] {
  const signature = bytes.subarray(0, 11).toString('latin1');
  if (signature !== 'PGCOPY\n\xff\r\n\0') throw new Error(`not COPY's binary format: ${JSON.stringify(signature)}`);
  let at = 19 + bytes.readInt32BE(15);
  const rows: Cells[] = [];
  for (;;) {
    const cellCount = bytes.readInt16BE(at);
    at += 2;
    if (cellCount === -1) break;
    if (cellCount !== types.length) throw new Error(`a row of ${String(cellCount)} cells, not ${String(types.length)}`);
    rows.push(
      types.map((type) => {
        const length = bytes.readInt32BE(at);
        at += 4;
        if (length === -1) return null;
        at += length;
        return cellOf(type, bytes.subarray(at - length, at));
      }),
    );
  }
  if (at !== bytes.length) throw new Error('bytes follow the end of the rows');
  return rows;
}

/** A zero keeps its sign. */
const numberText = (value: number): string => (Object.is(value, -0) ? '-0' : String(value));

function cellOf(type: OutputColumn['type'], bytes: Buffer): string {
  if (type === 'text') return bytes.toString('utf8');
  const width = { bigint: 8, 'double precision': 8, boolean: 1, date: 4, timestamp: 8, timestamptz: 8 }[type as string];
  if (bytes.length !== width) throw new Error(`${String(bytes.length)} bytes of a ${type}`);
  if (type === 'bigint') return String(bytes.readBigInt64BE());
  if (type === 'double precision') return numberText(bytes.readDoubleBE());
  if (type === 'boolean') return bytes[0] === 1 ? 'true' : 'false';
  const microseconds = type === 'date' ? BigInt(bytes.readInt32BE()) * 86_400_000_000n : bytes.readBigInt64BE();
  const rest = ((microseconds % second) + second) % second;
  const moment = new Date(Number((microseconds - rest) / 1000n) + Date.UTC(2000, 0)).toISOString();
  const [day = '', time = ''] = moment.slice(0, 19).split('T');
  if (type === 'date') return day;
  const fraction = rest === 0n ? '' : `.${String(rest).padStart(6, '0').replace(/0+$/, '')}`;
  return `${day} ${time}${fraction}${type === 'timestamptz' ? '+00' : ''}`;
}
