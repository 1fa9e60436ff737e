import type { FluxError } from './errors.ts';
import type { Transport } from './settings.ts';

/**
 * Whether what is shown is what is so. `live`: as it happens. `reconnecting`: the connection broke a moment ago. `stale`: for so long
 * now that what is shown should be marked.
 */
export type ConnectionState =
  | { readonly status: 'live'; readonly transport: Transport }
  | { readonly status: 'reconnecting' | 'stale'; readonly since: Date; readonly error: FluxError | null };

export type OnConnection = (state: ConnectionState) => void;

/** What a stream says of its connection. */
export interface ConnectionReporter {
  live(transport: Transport): void;
  broken(error: FluxError | null): void;
  end(): void;
}

const rank = { live: 0, reconnecting: 1, stale: 2 } as const;

/** Tells of every stream, and of all together: the worst of them. */
export function connectionStates(staleAfterMs: number, onAll: OnConnection | undefined) {
  const streams = new Map<symbol, ConnectionState>();
  let last = '';
  const tellAll = (): void => {
    const worst = [...streams.values()].sort((a, b) => rank[b.status] - rank[a.status])[0];
    const key = worst ? `${worst.status} ${worst.status === 'live' ? worst.transport : ''}` : '';
    if (!worst || key === last) return;
    last = key;
    onAll?.(worst);
  };
  return {
    report(onOne: OnConnection | undefined): ConnectionReporter {
      const stream = Symbol();
      let timer: ReturnType<typeof setTimeout> | undefined;
      const set = (state: ConnectionState): void => {
        streams.set(stream, state);
        onOne?.(state);
        tellAll();
      };
      const broken = (error: FluxError | null): void => {
        const now = streams.get(stream);
        if (now && now.status !== 'live') return;
        const since = new Date();
        set({ status: 'reconnecting', since, error });
        timer = setTimeout(() => set({ status: 'stale', since, error }), staleAfterMs);
      };
      return {
        live(transport) {
          clearTimeout(timer);
          const now = streams.get(stream);
          if (now?.status === 'live' && now.transport === transport) return;
          set({ status: 'live', transport });
        },
        broken,
        end() {
          clearTimeout(timer);
          streams.delete(stream);
          tellAll();
        },
      };
    },
  };
}
