import type { Authenticator } from '../auth/authenticator.ts';
import type { Principal } from '../auth/principal.ts';
import { RefusedTokenError } from '../auth/refused-token.ts';
import { sealContext } from '../auth/tenant-context.ts';
import type { Pool } from '../db/pool.ts';
import { listOwnIssuers } from '../db/issuers.ts';
import { listRevocationsInForce, type Revocation } from '../db/revocations.ts';
import { inTenant } from '../db/transaction.ts';
import { FluxError } from '../errors.ts';
import type { Hints, Log } from '../events/listen.ts';

/** What processes wait for beside their polls; it names no agency. */
export const revocationHint = 'revocations';

/** Two seconds are promised; a poll and a slow answer fit in. */
const pollMs = 700;
/** How old what was read may be when the database does not answer; then no token is taken any more. */
const staleMs = 5_000;
const idleMs = 60_000;

/** Whether the configuration itself trusts an issuer for an agency; whatever else is trusted is registered. */
export type ConfiguredTrust = (issuer: string, agency: string) => boolean;

type InForce = Pick<Revocation, 'subject' | 'tokenIds' | 'revokedAt'>;

/** Which tokens are refused before their time, as one process knows it: at most a poll old. */
export interface Revocations {
  /** @throws UNAUTHENTICATED the token was revoked; UNAVAILABLE that cannot be found out now */
  require(principal: Principal): Promise<void>;
  /** Calls `end` once when the token is revoked, or its issuer is trusted for its agency no more. @returns what forgets about it */
  watch(principal: Principal, end: () => void): () => void;
  stop(): Promise<void>;
}

export interface RevocationsDeps {
  /** Logged in as the API's role. */
  pool: Pool;
  seal: { keyId: string; key: Buffer };
  hints: Hints;
  logger: Log;
  /** All that the configuration lists, and so for ever; nothing if absent, where every issuer is to be registered. */
  configured?: ConfiguredTrust;
}

interface Agency {
  inForce: readonly InForce[];
  /** Issuers that are registered for it. */
  registered: ReadonlySet<string>;
  /** Milliseconds of the monotonic clock; -Infinity before the first reading, and when a hint says that it is old. */
  readAt: number;
  askedAt: number;
  reading: Promise<void> | undefined;
  watchers: Set<{ principal: Principal; end: () => void }>;
}

/**
 * Follows the revocations of every agency that somebody of is here: read when one of them asks, and again and again while a
 * connection of theirs is open. The table is the truth, a hint only shortens the wait.
 */
export function createRevocations({
  pool,
  seal,
  hints,
  logger,
  configured = () => false,
}: RevocationsDeps): Revocations {
  const agencies = new Map<string, Agency>();
  const agencyOf = (slug: string): Agency => {
    const known = agencies.get(slug);
    if (known) return known;
    const agency: Agency = {
      inForce: [],
      registered: new Set(),
      readAt: -Infinity,
      askedAt: performance.now(),
      reading: undefined,
      watchers: new Set(),
    };
    agencies.set(slug, agency);
    return agency;
  };

  const read = async (slug: string, agency: Agency): Promise<void> => {
    const startedAt = performance.now();
    const expiresAt = Math.floor(Date.now() / 1_000) + 60;
    const sealed = sealContext(seal, { agency: slug, role: 'platform', clearance: 0, expiresAt });
    const { inForce, issuers } = await inTenant(pool, sealed, async (tx) => {
      const [revoked, rows] = await Promise.all([listRevocationsInForce(tx), listOwnIssuers(tx)]);
      return { inForce: revoked, issuers: rows };
    });
    agency.inForce = inForce;
    agency.registered = new Set(issuers.map(({ issuer }) => issuer));
    agency.readAt = startedAt;
    for (const watcher of [...agency.watchers]) {
      const { issuer } = watcher.principal;
      const isTrusted = agency.registered.has(issuer) || configured(issuer, slug);
      if (isTrusted && !isRevoked(watcher.principal, agency.inForce)) continue;
      agency.watchers.delete(watcher);
      watcher.end();
    }
  };
  /** One reading at a time; who comes during one that began before a hint waits for the next. */
  const refresh = (slug: string, agency: Agency): Promise<void> =>
    (agency.reading ??= read(slug, agency).finally(() => (agency.reading = undefined)));

  const look = (): void => {
    for (const [slug, agency] of agencies) {
      if (agency.watchers.size > 0) {
        refresh(slug, agency).catch((cause: unknown) => logger.warn({ err: cause }, 'revocations could not be read'));
      } else if (performance.now() - agency.askedAt > idleMs) agencies.delete(slug);
    }
  };
  const hinted = (): void => {
    for (const agency of agencies.values()) agency.readAt = Math.min(agency.readAt, performance.now() - pollMs);
    look();
  };
  const deaf = hints.on(revocationHint, hinted);
  const timer = setInterval(look, pollMs).unref();

  return {
    async require(principal) {
      const agency = agencyOf(principal.agency);
      agency.askedAt = performance.now();
      if (agency.askedAt - agency.readAt >= pollMs) {
        await refresh(principal.agency, agency).catch((cause: unknown) => {
          if (performance.now() - agency.readAt < staleMs) return;
          throw new FluxError('UNAVAILABLE', 'Whether a token was revoked cannot be found out now.', { cause });
        });
      }
      if (isRevoked(principal, agency.inForce)) throw new RefusedTokenError(principal);
    },
    watch(principal, end) {
      const agency = agencyOf(principal.agency);
      const watcher = { principal, end };
      agency.watchers.add(watcher);
      return () => {
        agency.watchers.delete(watcher);
        agency.askedAt = performance.now();
      };
    },
    async stop() {
      clearInterval(timer);
      deaf();
      await Promise.allSettled([...agencies.values()].map(({ reading }) => reading ?? Promise.resolve()));
    },
  };
}

/** An authenticator that also refuses what was revoked. */
export function refuseRevoked(authenticator: Authenticator, revocations: Pick<Revocations, 'require'>): Authenticator {
  return {
    async authenticate(token) {
      const principal = await authenticator.authenticate(token);
      await revocations.require(principal);
      return principal;
    },
  };
}

/** `iat` counts whole seconds, so a token of the very second of the revocation is refused with those before it. */
function isRevoked({ subject, tokenId, issuedAt }: Principal, inForce: readonly InForce[]): boolean {
  return inForce.some(
    (one) =>
      one.tokenIds?.includes(tokenId) === true ||
      (one.subject === subject && issuedAt.getTime() <= one.revokedAt.getTime()),
  );
}
