/**
 * Writes a field's bytes, which begin at `at`, as one cell to `used`; nothing for an absent value. Behind a field with a byte that
 * cannot be, a part of its cell may have been written.
 *
 * @returns the place behind the cell, or `badByteAt` of where the byte stands
 */
export type FieldDecoder = (source: Uint8Array, at: number, buffer: Uint8Array, used: number) => number;

/** Less than every place; its own inverse. */
export const badByteAt = (place: number): number => -1 - place;

/** Half byte of a sign: 1 plus, 2 minus, 0 none. A, C, E and F mean plus, B and D minus; unsigned fields know F alone. */
export const signOfNibble = Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 1, 2, 1, 1]);
