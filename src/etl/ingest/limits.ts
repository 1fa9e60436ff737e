/** One record, in bytes. Larger ones end the run: they are nearly always a missing quote or a missing line end. */
export const recordByteCountMax = 8 * 1024 * 1024;
/** A batch ends here even if it holds fewer records than asked, so that memory does not depend on how long records are. */
export const batchByteCountMax = 32 * 1024 * 1024;
/** Containers within containers in one JSON record; beyond it nobody means it. */
export const jsonDepthMax = 100;
/** Characters of a rejected record's own text that are kept. */
export const rawCharacterCountMax = 16 * 1024;
/** Reasons kept for one rejected record. */
export const reasonCountMax = 50;
