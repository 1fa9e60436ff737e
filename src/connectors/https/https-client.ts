import type { IncomingMessage } from 'node:http';

import { plainHost } from '../../network/guarded-lookup.ts';
import { invalidSource, unavailableSource } from '../refusals.ts';
import { type Pause, pauseReally } from '../resumed-bytes.ts';
import { guardedGet, type RequestPolicy } from './guarded-request.ts';

/** What a connection says of its system, read. */
export interface HttpsAccess {
  connection: string;
  base: URL;
  /** Hosts besides the base's own to which its redirects may lead. */
  redirectHosts: readonly string[];
  headers: Readonly<Record<string, string>>;
  /** Headers and query parameters that go to the base's own origin and nowhere else. */
  secretHeaders: Readonly<Record<string, string>>;
  secretQuery: Readonly<Record<string, string>>;
}

export interface HttpsClient {
  /**
   * Sends a GET, follows redirects, waits where the server asks for it, and gives the first answer that is one.
   *
   * @throws SOURCE_INVALID refused, missing, or it leads elsewhere
   * @throws SOURCE_UNAVAILABLE the server fails, or asks to wait longer than this run can
   */
  get(url: URL, headers: Readonly<Record<string, string>>): Promise<{ answer: IncomingMessage; url: URL }>;
}

const redirectsMax = 5;
const triesMax = 4;
/** Altogether, for one source. */
const waitMsMax = 900_000;

/** @param signal ends every wait and every answer */
export function createHttpsClient(
  access: HttpsAccess,
  { policy, signal, pause = pauseReally }: { policy: RequestPolicy; signal: AbortSignal; pause?: Pause },
): HttpsClient {
  let waitedMs = 0;

  async function wait(answer: IncomingMessage, tries: number, shown: string): Promise<void> {
    const { statusCode = 0 } = answer;
    const asked = retryAfterMs(answer.headers['retry-after'], Date.now());
    const ms = asked ?? Math.min(1_000 * 2 ** tries, 60_000);
    // A server that names its time may do so as often as the whole wait allows; one that just fails is left soon.
    if (waitedMs + ms > waitMsMax || (asked === null && tries >= triesMax)) {
      throw unavailableSource(`${shown} answers ${String(statusCode)}${waits(asked)}. Flux tries again later.`);
    }
    waitedMs += ms;
    await pause(ms, signal);
  }

  async function one(url: URL, headers: Readonly<Record<string, string>>): Promise<IncomingMessage> {
    const shown = shownAddress(url, access);
    for (let tries = 1; ; tries += 1) {
      const own = isOwn(url, access) ? access.secretHeaders : {};
      const answer = await guardedGet(url, shown, {
        headers: { ...access.headers, ...headers, ...own },
        policy,
        signal,
      });
      const { statusCode = 0 } = answer;
      if (statusCode !== 429 && statusCode < 500) return answer;
      answer.destroy();
      await wait(answer, tries, shown);
    }
  }

  return {
    async get(first, headers) {
      let url = withSecretQuery(first, access);
      for (let redirects = 0; ; redirects += 1) {
        const answer = await one(url, headers);
        const { statusCode = 0 } = answer;
        const { location } = answer.headers;
        if (![301, 302, 303, 307, 308].includes(statusCode) || location === undefined) {
          if (statusCode < 400) return { answer, url };
          answer.destroy();
          throw refused(statusCode, shownAddress(url, access), access.connection);
        }
        answer.destroy();
        if (redirects === redirectsMax) {
          throw invalidSource(`${shownAddress(first, access)} redirects more than ${String(redirectsMax)} times.`);
        }
        url = redirected(url, location, access);
      }
    },
  };
}

/** Whether an address is of the connection's own origin, below its base. */
export function isOwn(url: URL, { base }: HttpsAccess): boolean {
  return url.origin === base.origin && url.pathname.startsWith(base.pathname);
}

/** An address without what is secret in it. */
export function shownAddress(url: URL, { secretQuery }: HttpsAccess): string {
  const shown = new URL(url);
  for (const name of Object.keys(secretQuery)) shown.searchParams.delete(name);
  shown.username = '';
  shown.password = '';
  return shown.href;
}

function withSecretQuery(url: URL, access: HttpsAccess): URL {
  const whole = new URL(url);
  if (isOwn(url, access)) {
    for (const [name, value] of Object.entries(access.secretQuery)) whole.searchParams.set(name, value);
  }
  return whole;
}

function redirected(from: URL, location: string, access: HttpsAccess): URL {
  const shown = shownAddress(from, access);
  if (!URL.canParse(location, from)) throw invalidSource(`${shown} redirects to what is no address.`);
  const to = new URL(location, from);
  if (from.protocol === 'https:' && to.protocol !== 'https:') {
    throw invalidSource(`${shown} redirects from https to ${to.protocol}, which is not followed.`);
  }
  const host = plainHost(to.hostname);
  if (to.host !== access.base.host && !access.redirectHosts.includes(host)) {
    throw invalidSource(
      `${shown} redirects to ${host}, which connection "${access.connection}" does not name. Add it to config.redirectHosts if it should be followed.`,
    );
  }
  to.username = '';
  to.password = '';
  return to;
}

function refused(status: number, shown: string, connection: string): Error {
  if (status === 408) return unavailableSource(`${shown} answers 408. Flux tries again.`);
  if (status === 401 || status === 403) {
    return invalidSource(
      `${shown} answers ${String(status)}. Give connection "${connection}" a secret that may read it.`,
    );
  }
  return invalidSource(`${shown} answers ${String(status)}. Check source.path.`);
}

/** RFC 9110, 10.2.3: seconds, or a date. */
export function retryAfterMs(value: string | undefined, now: number): number | null {
  if (value === undefined) return null;
  if (/^\d{1,9}$/.test(value.trim())) return Number(value) * 1_000;
  const at = Date.parse(value);
  return Number.isNaN(at) ? null : Math.max(0, at - now);
}

function waits(asked: number | null): string {
  return asked === null ? '' : ` and asks to wait ${String(Math.ceil(asked / 1_000))} s`;
}
