import { connect, type Session } from '../db/pool.ts';
import { resetSession } from '../db/reset-session.ts';
import { rolePassword } from '../db/roles.ts';
import { within } from './within.ts';
import type { WorkerDeps } from './work.ts';

/** A peer that has gone does not answer a goodbye. */
const goodbyeMs = 2_000;

/** How long one session serves: what an operator has changed of its login holds for every session that begins after that. */
const ageMaxMs = 10 * 60_000;

/** A session that is logged in as an agency. */
export interface AgencySession extends Session {
  /** Its login. */
  readonly role: string;
  readonly openedAt: number;
}

/**
 * Between two partitions of one agency its session stays, with what it has planned and looked up; every other partition gets a new one.
 * One is kept at most, because a worker works one partition at a time. Whoever puts one here has settled its partition: a
 * partition that is held still names its session's backend, and rescue ends that.
 */
export interface KeptSession {
  /** The kept one, as new, if it is that login's; any other ends. Null: there is none. */
  take(role: string): Promise<AgencySession | null>;
  /** Keeps a session that is in good order, instead of the one that was kept; ends any other. */
  keep(session: AgencySession): Promise<void>;
  /** Ends the kept one. */
  end(): Promise<void>;
}

export function keepSession({ now = () => performance.now() }: { now?: () => number } = {}): KeptSession {
  let kept: AgencySession | null = null;
  const release = (): AgencySession | null => {
    const session = kept;
    kept = null;
    return session;
  };
  return {
    async take(role) {
      const session = release();
      if (session === null) return null;
      if (session.role === role && session.isOrderly() && (await resetSession(session))) return session;
      await endSession(session);
      return null;
    },
    async keep(session) {
      const before = release();
      const isKept = session.isOrderly() && now() - session.openedAt < ageMaxMs;
      // Before anything is waited for: of two that came at once both would find no other here, and one would stay open for good.
      if (isKept) kept = session;
      else await endSession(session);
      if (before !== null) await endSession(before);
    },
    async end() {
      const session = release();
      if (session !== null) await endSession(session);
    },
  };
}

/** @throws UNAVAILABLE the server does not answer */
export async function openSession({ config, log }: WorkerDeps, role: string): Promise<AgencySession> {
  const openedAt = performance.now();
  const session = await connect({
    url: agencyUrl(config.databaseUrl, role, config.contextKey),
    applicationName: `flux worker ${config.id}`,
    prepared: true,
    onError: (err) => log.warn({ err, role }, 'the session of an agency broke'),
  });
  return { ...session, role, openedAt };
}

export async function endSession(session: AgencySession): Promise<void> {
  await within(
    goodbyeMs,
    session.end().catch(() => undefined),
  );
}

/** The same server and database under another login. */
function agencyUrl(workerUrl: string, role: string, contextKey: Buffer): string {
  const url = new URL(workerUrl);
  url.username = encodeURIComponent(role);
  url.password = rolePassword(contextKey, role);
  return url.href;
}
