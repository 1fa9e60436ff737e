import { unauthenticated } from './errors.ts';

export interface TokenRequest {
  /**
   * `first`: there is none yet. `expiring`: the last one has a minute left, or half of its time where that is less, and an open socket
   * goes on under the next. `refused`: the server did not take the last one, most often because its time was over.
   */
  reason: 'first' | 'expiring' | 'refused';
}

/** A token, or who gives one. Asked at the first request, before a token that an open socket uses ends, and whenever the server refuses the last one. */
export type TokenSource = string | ((request: TokenRequest) => string | Promise<string>);

export interface TokenKeeper {
  /** The token to send. */
  current(): Promise<string>;
  /**
   * Asks for another than `used`; whoever else was refused at the same time gets the same one.
   *
   * @throws UNAUTHENTICATED there is no other
   */
  replace(used: string): Promise<string>;
  /** Asks for the one after `used`, which is good still; whoever asks at the same time gets the same one. What fails changes nothing. */
  renew(used: string): Promise<string>;
}

export function keepToken(source: TokenSource): TokenKeeper {
  let token: Promise<string> | undefined;
  let renewing: Promise<string> | undefined;
  const request = (reason: TokenRequest['reason']): Promise<string> =>
    typeof source === 'string' ? Promise.resolve(source) : Promise.resolve().then(() => source({ reason }));
  const ask = (reason: TokenRequest['reason']): Promise<string> => {
    const asked = request(reason);
    token = asked;
    // A source that failed is asked again the next time.
    asked.catch(() => {
      if (token === asked) token = undefined;
    });
    return asked;
  };
  const current = (): Promise<string> => token ?? ask('first');
  return {
    current,
    async replace(used) {
      const asked = token ?? ask('first');
      const known = await asked;
      // Whoever was refused at the same moment may have asked while this one waited.
      const next = known !== used ? known : await (token === asked ? ask('refused') : current());
      if (next === used) throw unauthenticated('The server refused the token, and there is no other one.');
      return next;
    },
    async renew(used) {
      const known = await current();
      if (known !== used) return known;
      renewing ??= request('expiring').finally(() => (renewing = undefined));
      const next = await renewing;
      // Whoever was refused meanwhile has a newer one.
      if ((await current()) === used) token = Promise.resolve(next);
      return current();
    },
  };
}

const timerMsMost = 2 ** 31 - 1;
const renewBeforeMs = 60_000;

/** When to ask for the next token, in milliseconds from now; undefined where the token does not say when it ends (`exp` of a JWT). */
export function renewalDelay(token: string, now = Date.now()): number | undefined {
  try {
    const body = (token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/');
    const { exp } = JSON.parse(atob(body)) as { exp?: unknown };
    if (typeof exp !== 'number') return undefined;
    const left = exp * 1_000 - now;
    return Math.min(timerMsMost, Math.max(0, left - Math.min(renewBeforeMs, left / 2)));
  } catch {
    return undefined;
  }
}
