import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { unavailable } from '../../sdk/src/errors.ts';
import { follow, type StreamOptions } from '../../sdk/src/stream.ts';
import { keepToken } from '../../sdk/src/token.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function stream(own: Pick<StreamOptions<string>, 'open'>): AsyncGenerator<string, void, undefined> {
  return follow<string>({
    transports: ['websocket', 'polling'],
    cursorOf: (item) => item,
    isLast: (item) => item === 'last',
    after: null,
    token: keepToken('token'),
    reporter: { live: () => undefined, broken: () => undefined, end: () => undefined },
    signal: new AbortController().signal,
    giveUpAfterMs: Number.POSITIVE_INFINITY,
    ...own,
  });
}

it('tries the best way again also while a lower one waits for an answer', async () => {
  const opened: string[] = [];
  const items = stream({
    async *open(transport, cursor, { signal, connected }) {
      opened.push(`${transport} ${String(cursor)}`);
      if (opened.length === 1) throw unavailable('closed');
      connected();
      if (transport === 'websocket') {
        yield 'last';
        return;
      }
      yield 'first';
      await new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      });
    },
  });
  expect(await items.next()).toEqual({ done: false, value: 'first' });
  const next = items.next();
  await vi.advanceTimersByTimeAsync(30_000);
  expect(await next).toEqual({ done: false, value: 'last' });
  expect(opened).toEqual(['websocket null', 'polling null', 'websocket first']);
});
