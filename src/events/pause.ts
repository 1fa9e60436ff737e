/** Resolves after `ms`, or as soon as the signal aborts. Never rejects. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return firstOf([signal], ms);
}

/** Resolves when any of the signals aborts, or after `ms` where it is given. Leaves no listener and no timer behind. */
export function firstOf(signals: readonly AbortSignal[], ms?: number): Promise<void> {
  return new Promise((resolve) => {
    const finish = (): void => {
      clearTimeout(timer);
      for (const signal of signals) signal.removeEventListener('abort', finish);
      resolve();
    };
    const timer = ms === undefined ? undefined : setTimeout(finish, ms);
    for (const signal of signals) signal.addEventListener('abort', finish, { once: true });
    if (signals.some((signal) => signal.aborted)) finish();
  });
}
