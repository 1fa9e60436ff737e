import { FluxError } from '../errors.ts';
import type { Position } from './ingest/reader.ts';

/**
 * A committed cursor as its reader's position.
 *
 * @param like a position of the same reader, which says what a position must hold
 * @throws CHECKPOINT_INCOMPATIBLE it is no cursor of this engine
 */
export function readCursor(cursor: string, like: Position): Position {
  const value: unknown = JSON.parse(cursor);
  const isPosition =
    typeof value === 'object' &&
    value !== null &&
    Object.keys(value).sort().join() === Object.keys(like).sort().join() &&
    Object.values(value).every((each) => Number.isSafeInteger(each) && (each as number) >= 0);
  if (!isPosition) {
    throw new FluxError(
      'CHECKPOINT_INCOMPATIBLE',
      `Expected a cursor of this engine, found ${cursor.slice(0, 100)}. Start a new run.`,
    );
  }
  return value as Position;
}

/** Records of a range from a position on. @throws CHECKPOINT_INCOMPATIBLE the position lies outside */
export function recordsLeft(from: Position, { record, records }: { record: number; records: number }): number {
  const passed = (from['record'] ?? from['row'] ?? 0) - record;
  if (passed >= 0 && passed <= records) return records - passed;
  throw new FluxError(
    'CHECKPOINT_INCOMPATIBLE',
    `The cursor ${JSON.stringify(from)} lies outside its partition. Start a new run.`,
  );
}
