/** Retries begin at half a second, because most failures that pass by themselves pass at once, and end at 30 s. */
export const backoffMs = { first: 500, most: 30_000 } as const;

/**
 * How long a partition rests before its next taking: doubling from `first` to `most`, half of it by chance, so that
 * partitions that failed together do not come back together.
 *
 * @param takings takings so far without a committed batch, from 1
 * @param random 0 up to, not including, 1
 */
export function backoff(takings: number, random: number): number {
  const full = Math.min(backoffMs.most, backoffMs.first * 2 ** Math.max(0, takings - 1));
  return Math.round(full * (0.5 + random / 2));
}
