import { useCallback, useEffect, useRef, useState } from 'react';

export interface Loaded<T> {
  /** The newest answer; what was there stays while another is asked for. */
  data: T | undefined;
  error: unknown;
  loading: boolean;
  reload(): void;
}

/**
 * Asks whenever `key` changes; of two answers that overtake each other only the later question's counts.
 *
 * @param again asks anew when it changes, for the newest of the same: what is shown stays until that has come
 */
export function useLoad<T>(key: string, ask: (signal: AbortSignal) => Promise<T>, again = ''): Loaded<T> {
  const [state, setState] = useState<{ key: string; data?: T; error?: unknown }>({ key: '' });
  const [round, setRound] = useState(0);
  const latest = useRef(ask);
  useEffect(() => {
    latest.current = ask;
  });
  useEffect(() => {
    const stop = new AbortController();
    latest.current(stop.signal).then(
      (data) => !stop.signal.aborted && setState({ key, data }),
      (error: unknown) =>
        !stop.signal.aborted && setState((before) => ({ key, error, ...(before.key === key ? before : {}) })),
    );
    return () => stop.abort();
  }, [key, round, again]);
  const reload = useCallback(() => setRound((before) => before + 1), []);
  const current = state.key === key;
  return {
    data: current ? state.data : undefined,
    error: current ? state.error : undefined,
    loading: !current,
    reload,
  };
}

/** A value that is the same again after every `everyMs`: for texts like "12 s" that go on by themselves. */
export function useNow(everyMs: number, running: boolean): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!running) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs, running]);
  return now;
}
