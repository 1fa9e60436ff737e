import type { DuckDBValue } from '@duckdb/node-api';
import type duckdb from '@duckdb/node-bindings';
import { inlineBytesMax, nullText, TextVector } from '../duckdb/text-vector.ts';
import { vectorRowCountMax } from '../duckdb/vector-data.ts';
import { momentAt } from './calendar.ts';
import { dayBytes, longBytes, nullBytes, putDay, putMoment, putNull, textHeadBytes } from './copy-format.ts';
import type { SureRead, SureType, SureValue } from './sure-value.ts';
import { anyText, StateWalk } from './text-states.ts';
import type { RowTarget, RowVerdicts, VectorCells } from './vector-cells.ts';

/** Shorter ones are copied faster byte by byte than by a call out of JavaScript. */
const copiedBytesMin = 64;

/** Texts of a data chunk, also those that stand for days and times. */
export class TextCells implements VectorCells {
  readonly #type: SureType;
  readonly #walk: StateWalk | null;
  readonly #read: SureRead | null;
  readonly #mayBeNull: boolean;
  readonly #texts = new TextVector();
  /** What each text stands for. */
  readonly #numbers = new Float64Array(vectorRowCountMax);

  constructor({ type, states, read }: SureValue, mayBeNull: boolean) {
    this.#type = type;
    // What reads a time has seen each byte.
    this.#walk = type !== 'text' && states === anyText(0) ? null : new StateWalk(states);
    this.#read = read;
    this.#mayBeNull = mayBeNull;
  }

  read(vector: duckdb.Vector, rowCount: number, { sure, bytes }: RowVerdicts): void {
    this.#texts.read(vector, rowCount);
    const { sources, sourceOf, starts, ends } = this.#texts;
    const [walk, read, fixedBytes] = [this.#walk, this.#read, fixedBytesOf(this.#type)];
    for (let row = 0; row < rowCount; row += 1) {
      const [start, end] = [starts[row] as number, ends[row] as number];
      if (start < 0) {
        if (start !== nullText || !this.#mayBeNull) sure[row] = 0;
        bytes[row] = (bytes[row] as number) + nullBytes;
        continue;
      }
      const source = sources[sourceOf[row] as number] as Uint8Array;
      if (walk !== null && !walk.accepts(source, start, end)) sure[row] = 0;
      else if (read !== null) {
        const number = read(source, start, end);
        if (Number.isNaN(number)) sure[row] = 0;
        this.#numbers[row] = number;
      }
      bytes[row] = (bytes[row] as number) + (fixedBytes ?? textHeadBytes + end - start);
    }
  }

  valueAt(row: number): DuckDBValue | undefined {
    const { sources, sourceOf, starts, ends } = this.#texts;
    const start = starts[row] as number;
    if (start < 0) return start === nullText ? null : undefined;
    const { buffer, byteOffset } = sources[sourceOf[row] as number] as Uint8Array;
    return Buffer.from(buffer, byteOffset + start, (ends[row] as number) - start).toString('utf8');
  }

  write(target: RowTarget): void {
    if (this.#type === 'text') this.#writeTexts(target);
    else this.#writeTimes(target);
  }

  #writeTexts({ rows, cursors, view, bytes }: RowTarget): void {
    const { sources, sourceOf, starts, ends, words } = this.#texts;
    for (const row of rows) {
      let at = cursors[row] as number;
      const [start, end] = [starts[row] as number, ends[row] as number];
      if (start < 0) {
        cursors[row] = putNull(view, at);
        continue;
      }
      view.setInt32(at, end - start);
      at += textHeadBytes;
      cursors[row] = at + end - start;
      if (end - start <= inlineBytesMax) {
        view.setUint32(at, words[row * 4 + 1] as number, true);
        view.setUint32(at + 4, words[row * 4 + 2] as number, true);
        view.setUint32(at + 8, words[row * 4 + 3] as number, true);
        continue;
      }
      const source = sources[sourceOf[row] as number] as Uint8Array;
      if (end - start >= copiedBytesMin) bytes.set(source.subarray(start, end), at);
      else for (let from = start; from < end; from += 1, at += 1) bytes[at] = source[from] as number;
    }
  }

  #writeTimes({ rows, cursors, view }: RowTarget): void {
    const { sources, sourceOf, starts, ends } = this.#texts;
    const zoneBytes = this.#type === 'timestamptz' ? 1 : 0;
    for (const row of rows) {
      const at = cursors[row] as number;
      const start = starts[row] as number;
      if (start < 0) cursors[row] = putNull(view, at);
      else if (this.#type === 'date') cursors[row] = putDay(view, at, this.#numbers[row] as number);
      else {
        const source = sources[sourceOf[row] as number] as Uint8Array;
        cursors[row] = putMoment(view, at, momentAt(source, start, (ends[row] as number) - zoneBytes));
      }
    }
  }
}

/** null: as many as the text has. */
function fixedBytesOf(type: SureType): number | null {
  if (type === 'text') return null;
  return type === 'date' ? dayBytes : longBytes;
}
