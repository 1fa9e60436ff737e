import { describe, expect, it } from 'vitest';

import { itemOf, withFailure } from '../../resolvers/stream.ts';
import { FluxError } from '../../src/errors.ts';
import { firstOf, pause } from '../../src/events/pause.ts';
import { abortable } from '../../src/events/stream.ts';

const never = new AbortController().signal;

/** Yields once, then waits for its end; says in `states` what it does. */
function source(states: string[]) {
  return abortable<{ n: number }>(async function* (signal) {
    states.push('open');
    try {
      yield { n: 1 };
      await firstOf([signal]);
    } finally {
      states.push('closed');
    }
  }, never);
}

describe('a stream', () => {
  it('opens with the first read and closes while it waits', async () => {
    const states: string[] = [];
    const stream = source(states);
    expect(states).toEqual([]);
    expect(await stream.next()).toEqual({ done: false, value: { n: 1 } });
    const waiting = stream.next();
    await stream.return();
    expect(await waiting).toMatchObject({ done: true });
    expect(states).toEqual(['open', 'closed']);
    expect(await stream.next()).toMatchObject({ done: true });
  });

  it('never opens when it is closed unread', async () => {
    const states: string[] = [];
    await source(states).return();
    expect(states).toEqual([]);
  });

  it('hands a failure over as its last item', async () => {
    const failing = withFailure<{ n: number }>(
      abortable(async function* () {
        yield await Promise.resolve({ n: 1 });
        throw new FluxError('NOT_FOUND', 'gone');
      }, never),
    );
    const items: object[] = [];
    for await (const item of failing) items.push(item);
    expect(itemOf(items[0] as { n: number })).toEqual({ n: 1 });
    expect(() => itemOf(items[1] as { n: number })).toThrow('gone');
    expect(items).toHaveLength(2);
  });

  it('closes its source through the wrapper', async () => {
    const states: string[] = [];
    const stream = withFailure(source(states));
    await stream.next();
    await stream.return();
    expect(states).toEqual(['open', 'closed']);
  });
});

describe('a pause', () => {
  it('ends at its time, with its signal, or at once when the signal is over', async () => {
    await pause(1, never);
    const ending = new AbortController();
    const pausing = pause(60_000, ending.signal);
    ending.abort();
    await pausing;
    await pause(60_000, ending.signal);
  });
});
