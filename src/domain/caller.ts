import type { SendHint } from '../db/notify.ts';
import type { Pool } from '../db/pool.ts';
import type { Log } from '../events/listen.ts';
import type { KeyRing } from '../keys/key-ring.ts';

/** Who asks, as far as the rules need to know: what the API's request context says of its caller. */
export interface Caller {
  readonly principal: {
    readonly subject: string;
    readonly agency: string;
    readonly role: string;
    /** 0 (U) to 5 (SCI). */
    readonly clearance: number;
  };
  /** A fresh sealed tenant context. */
  sealed(): string;
  readonly requestId: string;
  readonly traceId: string;
  readonly ip: string;
  readonly userAgent: string | null;
  /** Told when what is asked has its audit entry. */
  recorded?(): void;
}

export interface DomainDeps {
  pool: Pool;
  logger: Log;
  /** Seals and opens what runs leave in tables; absent where nothing is sealed (tests). */
  keys?: KeyRing | undefined;
  /** Where hints travel another way than through the database. */
  sendHint?: SendHint | undefined;
}

/** What every mutation may carry. */
export interface Asked {
  /** Why the person asks; kept with the run and in the audit log. */
  reason: string | null;
  /** The same key with the same request gives the first result again. */
  idempotencyKey: string | null;
}
