import { setTimeout as delay } from 'node:timers/promises';

import type { Pool } from '../db/pool.ts';
import { inTenant } from '../db/transaction.ts';
import { FluxError, toFluxError } from '../errors.ts';
import { type AuditEntry, appendAudits } from './append.ts';

/**
 * What changes nothing and is audited all the same: reads, refusals, subscriptions. Their entries are gathered and written
 * together, at the latest a second after what they tell of.
 *
 * Entries are never dropped: while the database is away they wait, and once as many wait as memory is given to, `admit` refuses
 * what would make more of them. So at most what half a second has gathered is lost, and only with the process.
 */
export interface ActivityLog {
  /** @throws UNAVAILABLE nothing more can be kept now: whatever would be unaudited is not done */
  admit(): void;
  add(agency: string, entry: AuditEntry): void;
  /** A refusal: equal ones that wait together become one, with their `count` in `after`. */
  addRefusal(agency: string, entry: AuditEntry): void;
  /** Asks the source for its entries when it is next written; once for each call. */
  watch(source: EntrySource): void;
  /** Writes what has been gathered until now. */
  flush(): Promise<void>;
  /** Writes what is left. Call it when nothing can be added any more. */
  stop(): Promise<void>;
}

/** Something under way that tells what it has done so far. */
export interface EntrySource {
  readonly agency: string;
  take(): readonly AuditEntry[];
}

export interface ActivityLogOptions {
  pool: Pool;
  /** Mints a sealed tenant context of any agency, for nothing but the writing of its entries. */
  sealFor(agency: string): string;
  log: { warn(fields: object, message: string): void; error(fields: object, message: string): void };
  /** Longest an entry is gathered, milliseconds. */
  gatherMs?: number;
  /** Most entries that wait. */
  waitingMax?: number;
}

const usualGatherMs = 500;
/** Some 2 KiB each: 20 MiB at the most. */
const usualWaitingMax = 10_000;
const perTransactionMax = 500;
/** Transactions at once: agencies do not wait for each other, and requests keep most of the connections. */
const atOnceMax = 3;
const retryMsMax = 5_000;
const stopTries = 3;

type Waiting = Map<string, AuditEntry[]>;

export function createActivityLog(options: ActivityLogOptions): ActivityLog {
  const { pool, sealFor, log, gatherMs = usualGatherMs, waitingMax = usualWaitingMax } = options;
  let waiting: Waiting = new Map();
  let sources = new Set<EntrySource>();
  let refusals = new Map<string, { entry: AuditEntry; count: number }>();
  let count = 0;
  let failures = 0;
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<void> = Promise.resolve();

  const arm = (): void => {
    timer ??= setTimeout(() => void flush(), Math.min(retryMsMax, gatherMs * 2 ** failures));
  };
  const disarm = (): void => {
    clearTimeout(timer);
    timer = undefined;
  };
  const keep = (agency: string, entries: readonly AuditEntry[]): void => {
    if (entries.length === 0) return;
    count += entries.length;
    const known = waiting.get(agency);
    if (known) known.push(...entries);
    else waiting.set(agency, [...entries]);
    arm();
  };
  const collect = (): Waiting => {
    const gathered = sources;
    sources = new Set();
    for (const source of gathered) keep(source.agency, source.take());
    refusals = new Map();
    const taken = waiting;
    waiting = new Map();
    // Armed by what has just been taken, it would cut short the gathering of what comes next.
    disarm();
    return taken;
  };
  const write = async (): Promise<void> => {
    const jobs = [...collect()].flatMap(([agency, entries]) => inParts(entries).map((part) => ({ agency, part })));
    let failed: unknown;
    const work = async (): Promise<void> => {
      for (let job = jobs.shift(); job; job = jobs.shift()) {
        const { agency, part } = job;
        count -= part.length;
        try {
          await inTenant(pool, sealFor(agency), (tx) => appendAudits(tx, part));
        } catch (cause) {
          failed = cause;
          await setAside(agency, part, cause);
        }
      }
    };
    await Promise.all(Array.from({ length: atOnceMax }, work));
    if (failed !== undefined && failures === 0) log.warn({ err: failed, waiting: count }, 'audit entries wait');
    failures = failed === undefined ? 0 : failures + 1;
    if (count > 0) arm();
  };
  /** What fails for a reason of its own is written alone, so that it keeps no other back. */
  const setAside = async (agency: string, part: readonly AuditEntry[], cause: unknown): Promise<void> => {
    if (toFluxError(cause).retryable) return keep(agency, part);
    for (const entry of part) {
      await inTenant(pool, sealFor(agency), (tx) => appendAudits(tx, [entry])).catch((err: unknown) => {
        if (toFluxError(err).retryable) keep(agency, [entry]);
        else log.error({ err, action: entry.action, agency }, 'an audit entry cannot be written');
      });
    }
  };
  const flush = (): Promise<void> => {
    disarm();
    writing = writing.then(write);
    return writing;
  };

  return {
    admit() {
      if (count + sources.size < waitingMax) return;
      throw new FluxError(
        'UNAVAILABLE',
        'The audit log cannot be written now, and nothing is read that it would not tell of. Try again.',
      );
    },
    add: (agency, entry) => keep(agency, [entry]),
    addRefusal(agency, entry) {
      const key = JSON.stringify([agency, entry.actor, entry.action, entry.errorCode, entry.resourceId, entry.ip]);
      const known = refusals.get(key);
      if (known) {
        known.count += 1;
        known.entry.after = { ...(known.entry.after as object), count: known.count };
        return;
      }
      const kept = { ...entry, after: { ...(entry.after as object | undefined), count: 1 } };
      // Beyond the bound a refusal is still refused; what cannot be kept is told to the log.
      if (count >= 2 * waitingMax) return log.warn({ agency, code: entry.errorCode }, 'a refusal is not recorded');
      refusals.set(key, { entry: kept, count: 1 });
      keep(agency, [kept]);
    },
    watch(source) {
      sources.add(source);
      arm();
    },
    flush,
    async stop() {
      for (let tries = 0; tries < stopTries; tries += 1) {
        await flush();
        if (count === 0) break;
        await delay(gatherMs);
      }
      disarm();
      if (count > 0) log.error({ lost: count }, 'audit entries of reads could not be written before the end');
    },
  };
}

function inParts(entries: readonly AuditEntry[]): AuditEntry[][] {
  return Array.from({ length: Math.ceil(entries.length / perTransactionMax) }, (_, i) =>
    entries.slice(i * perTransactionMax, (i + 1) * perTransactionMax),
  );
}
