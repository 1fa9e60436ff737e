import duckdb from '@duckdb/node-bindings';

/** Rows of a data chunk at most. */
export const vectorRowCountMax = duckdb.vector_size();

/** Says of each of a vector's first rows whether it is there (1) or null (0). */
export function readValidity(vector: duckdb.Vector, rowCount: number, into: Uint8Array): void {
  const bits = duckdb.vector_get_validity(vector, Math.ceil(rowCount / 64) * 8) as Uint8Array | null;
  // Without a mask there is no null.
  if (bits === null) {
    into.fill(1, 0, rowCount);
    return;
  }
  for (let row = 0; row < rowCount; row += 1) into[row] = ((bits[row >> 3] as number) >> (row & 7)) & 1;
  letGo(bits);
}

/**
 * Gives back the memory of bytes that the binding has copied from a vector, which nobody reads any more. Left to V8, each chunk adds a quarter of a
 * megabyte to what it counts as its heap, and it looks through all of that again and again: a fifth of a child's time.
 *
 * Source: ECMAScript 2024, `ArrayBuffer.prototype.transfer`. What still looks at them finds nothing.
 */
export function letGo({ buffer }: ArrayBufferView): void {
  (buffer as ArrayBuffer).transfer(0);
}
