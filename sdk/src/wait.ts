/** Resolves after `ms`, or at once when `signal` aborts. */
export function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done, { once: true });
  });
}

/** 250 ms, 500 ms ... 8 s, of which up to half is left out at random: clients that broke together do not come back together. */
export function backoffMs(failures: number): number {
  const full = Math.min(8_000, 250 * 2 ** Math.max(0, failures - 1));
  return full * (0.5 + Math.random() / 2);
}
