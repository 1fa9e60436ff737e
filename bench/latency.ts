/** Times of one repeated call, and their order statistics. */
export interface Latency {
  count: number;
  p50: number;
  p99: number;
  max: number;
}

/** Repeats `call` every `everyMs` until `stop` settles; at most one at a time, so that a slow answer is not hidden by a queue. */
export async function sampleLatency(
  call: () => Promise<unknown>,
  everyMs: number,
  stop: Promise<unknown>,
): Promise<Latency> {
  const times: number[] = [];
  let over = false;
  void stop.finally(() => {
    over = true;
  });
  while (!over) {
    const start = performance.now();
    await call();
    times.push(performance.now() - start);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
  return summarize(times);
}

export function summarize(times: readonly number[]): Latency {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), max: sorted.at(-1) ?? NaN };
}
