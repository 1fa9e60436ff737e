import type { RunPermissionsQuery, RunQuery } from '@flux-etl/sdk';
import { useCallback, useEffect, useRef, useState } from 'react';

import { useSession } from '../../use-session.ts';

export type Run = NonNullable<RunQuery['run']>;
export type Permissions = NonNullable<RunPermissionsQuery['run']>;

export interface LoadedRun {
  run: Run | null;
  permissions: Permissions | null;
  missing: boolean;
  error: unknown;
  /** Asks again, soon: many wishes within a second are one question. */
  refresh: () => void;
}

const patienceMs = 1_000;

/** A run with what the caller may ask of it. It stays on the screen while it is read anew. */
export function useRun(id: string): LoadedRun {
  const { flux } = useSession();
  const [state, setState] = useState<Omit<LoadedRun, 'refresh'>>({
    run: null,
    permissions: null,
    missing: false,
    error: null,
  });
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const read = useCallback(async (): Promise<void> => {
    try {
      const [run, permissions] = await Promise.all([flux.api.run({ id }), flux.api.runPermissions({ id })]);
      setState({ run: run ?? null, permissions: permissions ?? null, missing: !run, error: null });
    } catch (error) {
      setState((before) => ({ ...before, error }));
    }
  }, [flux, id]);
  useEffect(() => {
    void read();
    return () => clearTimeout(timer.current);
  }, [read]);
  const refresh = useCallback(() => {
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      void read();
    }, patienceMs);
  }, [read]);
  return { ...state, refresh };
}
