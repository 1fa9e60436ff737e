import { unauthenticated } from './errors.ts';

export interface TokenRequest {
  /** `first`: there is none yet. `refused`: the server did not take the last one, most often because its time was over. */
  reason: 'first' | 'refused';
}

/** A token, or who gives one. Asked at the first request, and whenever the server refuses the last one. */
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
}

export function keepToken(source: TokenSource): TokenKeeper {
  let token: Promise<string> | undefined;
  const ask = (reason: TokenRequest['reason']): Promise<string> => {
    const asked =
      typeof source === 'string' ? Promise.resolve(source) : Promise.resolve().then(() => source({ reason }));
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
      const known = await current();
      const next = known === used ? await ask('refused') : known;
      if (next === used) throw unauthenticated('The server refused the token, and there is no other one.');
      return next;
    },
  };
}
