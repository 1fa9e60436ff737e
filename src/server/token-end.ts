import type { Principal } from '../auth/principal.ts';

const timerMsMax = 2 ** 31 - 1;

export function hasExpired({ expiresAt }: Principal): boolean {
  return expiresAt.getTime() <= Date.now();
}

/** Calls `end` the moment the token has run out. @returns what forgets about it */
export function onTokenEnd(principal: Principal, end: () => void): () => void {
  let timer: NodeJS.Timeout;
  const arm = (): void => {
    timer = setTimeout(
      () => {
        if (hasExpired(principal)) end();
        else arm();
      },
      Math.min(Math.max(principal.expiresAt.getTime() - Date.now(), 0), timerMsMax),
    );
  };
  arm();
  return () => clearTimeout(timer);
}
