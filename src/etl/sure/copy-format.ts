/**
 * COPY's binary format (PostgreSQL, COPY, "Binary Format"). Each of these writes one cell, its length first, and returns the place behind it.
 */

/** Its signature, no flags, no more of a header. */
export const header = Buffer.concat([Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), Buffer.alloc(8)]);
/** In front of a row: how many cells it has; -1 where there are no more rows. */
export const rowHeadBytes = 2;

/** What cells take, with their lengths. */
export const nullBytes = 4;
export const longBytes = 12;
export const dayBytes = 8;
export const booleanBytes = 5;
export const textHeadBytes = 4;

const wordCount = 2 ** 32;

export function putNull(view: DataView, at: number): number {
  view.setInt32(at, -1);
  return at + nullBytes;
}

/** @param value a safe integer */
export function putInteger(view: DataView, at: number, value: number): number {
  const high = Math.floor(value / wordCount);
  view.setInt32(at, 8);
  view.setInt32(at + 4, high);
  view.setUint32(at + 8, value - high * wordCount);
  return at + longBytes;
}

export function putDouble(view: DataView, at: number, value: number): number {
  view.setInt32(at, 8);
  view.setFloat64(at + 4, value);
  return at + longBytes;
}

export function putBoolean(view: DataView, at: number, value: boolean): number {
  view.setInt32(at, 1);
  view.setUint8(at + 4, value ? 1 : 0);
  return at + booleanBytes;
}

/** @param days since 2000-01-01 */
export function putDay(view: DataView, at: number, days: number): number {
  view.setInt32(at, 4);
  view.setInt32(at + 4, days);
  return at + dayBytes;
}

/** @param microseconds since 2000-01-01, of UTC where the type has a zone */
export function putMoment(view: DataView, at: number, microseconds: bigint): number {
  view.setInt32(at, 8);
  view.setBigInt64(at + 4, microseconds);
  return at + longBytes;
}
