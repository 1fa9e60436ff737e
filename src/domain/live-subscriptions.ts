import type { Principal } from '../auth/principal.ts';
import { sealContext } from '../auth/tenant-context.ts';
import { randomUuid, timeOrderedUuid } from '../crypto/random.ts';
import { type LiveSubscription, removeLiveSubscriptions, saveLiveSubscriptions } from '../db/live-subscriptions.ts';
import type { Pool } from '../db/pool.ts';
import { inTenant } from '../db/transaction.ts';
import type { Log } from '../events/listen.ts';

export type { LiveSubscription } from '../db/live-subscriptions.ts';

/** What a transport says of a subscription that it begins to serve. */
export type OpenedSubscription = { principal: Principal } & Pick<
  LiveSubscription,
  'transport' | 'field' | 'operationName' | 'ip' | 'userAgent' | 'requestId'
>;

/** What one process has open, kept in the table that an agency's admin reads. */
export interface LiveSubscriptions {
  opened(subscription: OpenedSubscription): {
    /** It runs under a newer token of the same person from now on. */
    refreshed(principal: Principal): void;
    closed(): void;
  };
  /** Takes everything of this process away. */
  stop(): Promise<void>;
}

/** One statement for what opens and closes within this time; what is over before it is never written. */
const flushMs = 250;
/** A third of the time after which a silent process counts as gone (db/live-subscriptions.ts). */
const heartbeatMs = 10_000;
const batchMax = 500;

interface Agency {
  open: Map<string, LiveSubscription>;
  /** To be written, or to be said again. */
  unsaved: Set<string>;
  /** Written, and still open. */
  saved: Set<string>;
  /** Written, and over. */
  over: Set<string>;
}

export function createLiveSubscriptions({
  pool,
  seal,
  logger,
}: {
  pool: Pool;
  seal: { keyId: string; key: Buffer };
  logger: Log;
}): LiveSubscriptions {
  const serverId = randomUuid();
  const agencies = new Map<string, Agency>();
  let timer: NodeJS.Timeout | undefined;
  let working: Promise<void> = Promise.resolve();
  let stopped = false;

  const agencyOf = (slug: string): Agency => {
    const known = agencies.get(slug) ?? { open: new Map(), unsaved: new Set(), over: new Set(), saved: new Set() };
    agencies.set(slug, known);
    return known;
  };
  const flushAgency = async (slug: string, agency: Agency): Promise<void> => {
    const saving = [...agency.unsaved].slice(0, batchMax);
    for (const id of saving) agency.unsaved.delete(id);
    const rows = saving.map((id) => agency.open.get(id)).filter((row) => row !== undefined);
    const removing = [...agency.over].slice(0, batchMax);
    if (rows.length === 0 && removing.length === 0) return;
    const expiresAt = Math.floor(Date.now() / 1_000) + 60;
    const sealed = sealContext(seal, { agency: slug, role: 'platform', clearance: 0, expiresAt });
    try {
      await inTenant(pool, sealed, async (tx) => {
        if (rows.length > 0) await saveLiveSubscriptions(tx, serverId, rows);
        if (removing.length > 0) await removeLiveSubscriptions(tx, removing);
      });
    } catch (cause) {
      for (const id of saving) agency.unsaved.add(id);
      throw cause;
    }
    for (const id of removing) agency.over.delete(id);
    // What was closed while it was being written is over now.
    for (const { id } of rows) (agency.open.has(id) ? agency.saved : agency.over).add(id);
  };
  const flush = async (): Promise<void> => {
    for (const [slug, agency] of agencies) {
      await flushAgency(slug, agency);
      if (agency.unsaved.size > 0 || agency.over.size > 0) soon();
      else if (agency.open.size === 0) agencies.delete(slug);
    }
  };
  const work = (): Promise<void> => {
    working = working.then(flush).catch((cause: unknown) => {
      logger.warn({ err: cause }, 'open subscriptions could not be written down; tried again');
      if (!stopped) soon(heartbeatMs / 10);
    });
    return working;
  };
  const soon = (ms = flushMs): void => {
    timer ??= setTimeout(() => {
      timer = undefined;
      void work();
    }, ms).unref();
  };
  const heart = setInterval(() => {
    for (const agency of agencies.values()) for (const id of agency.open.keys()) agency.unsaved.add(id);
    soon();
  }, heartbeatMs).unref();

  return {
    opened({ principal, ...told }) {
      const id = timeOrderedUuid();
      const agency = agencyOf(principal.agency);
      agency.open.set(id, { id, ...tokenOf(principal), ...told, openedAt: new Date() });
      agency.unsaved.add(id);
      soon();
      return {
        refreshed(newer) {
          const row = agency.open.get(id);
          if (!row) return;
          agency.open.set(id, { ...row, ...tokenOf(newer) });
          agency.unsaved.add(id);
          soon();
        },
        closed() {
          if (!agency.open.delete(id)) return;
          // One that was never written leaves nothing to take away.
          if (agency.saved.delete(id)) agency.over.add(id);
          soon();
        },
      };
    },
    async stop() {
      stopped = true;
      clearInterval(heart);
      clearTimeout(timer);
      for (const agency of agencies.values()) {
        for (const id of agency.saved) agency.over.add(id);
        agency.open.clear();
      }
      await work();
      clearTimeout(timer);
    },
  };
}

function tokenOf({ subject, issuer, role, tokenId, expiresAt }: Principal) {
  return { subject, issuer, role, tokenId, tokenExpiresAt: expiresAt };
}
