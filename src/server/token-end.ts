const timerMsMax = 2 ** 31 - 1;

/** When the right to be served ends; a newer token moves it. */
export type TokenEnd = () => Date;

export function hasEnded(tokenEnd: TokenEnd): boolean {
  return tokenEnd().getTime() <= Date.now();
}

/** Calls `end` the moment the token has run out, be it the one of now or a newer. @returns what forgets about it */
export function onTokenEnd(tokenEnd: TokenEnd, end: () => void): () => void {
  let timer: NodeJS.Timeout;
  const arm = (): void => {
    timer = setTimeout(
      () => {
        if (hasEnded(tokenEnd)) end();
        else arm();
      },
      Math.min(Math.max(tokenEnd().getTime() - Date.now(), 0), timerMsMax),
    );
  };
  arm();
  return () => clearTimeout(timer);
}
