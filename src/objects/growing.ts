import type { ObjectSeal } from './sealed-format.ts';

/** An object that is being stored: what is there of its file does not change any more, and the rest comes. */
export interface GrowingObject {
  /** Where it is written, until it is whole and moves: whoever is told opens it at once. */
  path: string;
  /** null: plain */
  seal: ObjectSeal | null;
  /** Of the content, as its source says; whether that was so is known when it is stored. */
  byteCount: number;
}

/** Who is told of an object while it is stored. */
export interface GrowthWatch {
  /** Of the content, as its source says. */
  byteCount: number;
  begun(object: GrowingObject): void;
}

const pauseMs = 1;
const nobodyWakes = new Int32Array(new SharedArrayBuffer(4));

/**
 * Lets a while pass until more of a file is there that the parent of this process is writing. Synchronous, as whoever reads is.
 *
 * @returns waits; throws when the parent has ended, because a process that waits so hears no word of it
 */
export function waiterForParent(): () => void {
  const parent = process.ppid;
  return () => {
    if (process.ppid !== parent) throw new Error('the process that was writing the object has ended');
    Atomics.wait(nobodyWakes, 0, 0, pauseMs);
  };
}
