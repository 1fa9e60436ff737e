import type { IssuerRegistry, TrustedIssuer } from '../auth/authenticator.ts';
import { sealContext } from '../auth/tenant-context.ts';
import { type IssuerRow, listOwnIssuers } from '../db/issuers.ts';
import type { Pool } from '../db/pool.ts';
import { inTenant } from '../db/transaction.ts';
import { FluxError } from '../errors.ts';

/** How soon a change of the registry is obeyed. */
const freshMs = 2_000;
/** How long what was read goes on to count while the database does not answer; then it fails closed. */
const staleMs = 60_000;
const agenciesMax = 10_000;
/**
 * Anybody may name any agency in a token that proves nothing. So many a second are looked up for agencies of which nothing is
 * known here; those that have been served before are not counted.
 */
const strangersPerSecond = 50;

interface Known {
  issuers: readonly TrustedIssuer[];
  readAt: number;
  reading: Promise<void> | undefined;
}

/** The registered issuers by agency, as one process knows them: at most two seconds old. */
export function createIssuerRegistry({
  pool,
  seal,
  now = () => performance.now(),
}: {
  /** Logged in as the API's role. */
  pool: Pool;
  seal: { keyId: string; key: Buffer };
  /** Milliseconds of a clock that only goes forward. */
  now?: () => number;
}): IssuerRegistry {
  const known = new Map<string, Known>();
  let window = { startedAt: -Infinity, strangers: 0 };

  const read = async (agency: string, entry: Known): Promise<void> => {
    const startedAt = now();
    const expiresAt = Math.floor(Date.now() / 1_000) + 60;
    const sealed = sealContext(seal, { agency, role: 'platform', clearance: 0, expiresAt });
    entry.issuers = (await inTenant(pool, sealed, listOwnIssuers)).map(toTrusted);
    entry.readAt = startedAt;
  };
  const admitStranger = (): void => {
    if (now() - window.startedAt >= 1_000) window = { startedAt: now(), strangers: 0 };
    window.strangers += 1;
    if (window.strangers > strangersPerSecond) {
      throw new FluxError('UNAVAILABLE', 'Too many tokens of unknown agencies come in now. Try again in a moment.');
    }
  };
  const entryOf = (agency: string): Known => {
    const entry = known.get(agency);
    if (entry) return entry;
    admitStranger();
    if (known.size >= agenciesMax) known.delete(known.keys().next().value as string);
    const created: Known = { issuers: [], readAt: -Infinity, reading: undefined };
    known.set(agency, created);
    return created;
  };

  return async (agency) => {
    const entry = entryOf(agency);
    if (now() - entry.readAt < freshMs) return entry.issuers;
    if (entry.issuers.length === 0 && entry.readAt > -Infinity) admitStranger();
    entry.reading ??= read(agency, entry).finally(() => (entry.reading = undefined));
    await entry.reading.catch((cause: unknown) => {
      if (now() - entry.readAt < staleMs) return;
      throw new FluxError('UNAVAILABLE', 'The trusted issuers cannot be read now. Try again in a moment.', { cause });
    });
    return entry.issuers;
  };
}

function toTrusted({ agency, issuer, jwksUri, jwks, audience }: IssuerRow): TrustedIssuer {
  return {
    issuer,
    ...(jwksUri === null ? {} : { jwksUri }),
    ...(jwks === null ? {} : { jwks }),
    ...(audience === null ? {} : { audience }),
    agencies: [agency],
  };
}
