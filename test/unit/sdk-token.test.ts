import { expect, it } from 'vitest';

import { keepToken, type TokenRequest } from '../../sdk/src/token.ts';

/** A source whose tokens are `token 1`, `token 2` …, and why each was asked for. */
function source(fails: readonly number[] = []) {
  const reasons: string[] = [];
  return {
    reasons,
    async give({ reason }: TokenRequest): Promise<string> {
      reasons.push(reason);
      const asked = reasons.length;
      await new Promise(setImmediate);
      if (fails.includes(asked)) throw new Error(`no token ${String(asked)}`);
      return `token ${String(asked)}`;
    },
  };
}

it('asks for one other token, however many requests were refused at once', async () => {
  const { give, reasons } = source();
  const keeper = keepToken(give);
  const used = await keeper.current();
  const next = await Promise.all(Array.from({ length: 5 }, () => keeper.replace(used)));
  expect(new Set(next)).toEqual(new Set(['token 2']));
  expect(reasons).toEqual(['first', 'refused']);
});

it('asks for one, also when the refusals come while the first is awaited', async () => {
  const { give, reasons } = source();
  const keeper = keepToken(give);
  await Promise.all([keeper.current(), keeper.replace('token 1'), keeper.replace('token 1')]);
  expect(reasons).toEqual(['first', 'refused']);
});

it('gives who was refused later the token that is there by then', async () => {
  const { give, reasons } = source();
  const keeper = keepToken(give);
  const used = await keeper.current();
  await keeper.replace(used);
  expect(await keeper.replace(used)).toBe('token 2');
  expect(reasons).toEqual(['first', 'refused']);
});

it('tells everybody that the source failed, and asks it again the next time', async () => {
  const { give, reasons } = source([2]);
  const keeper = keepToken(give);
  const used = await keeper.current();
  const all = await Promise.allSettled([keeper.replace(used), keeper.replace(used)]);
  expect(all.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  expect(await keeper.current()).toBe('token 3');
  expect(reasons).toEqual(['first', 'refused', 'first']);
});

it('refuses when there is no other token', async () => {
  const keeper = keepToken('the only one');
  await expect(keeper.replace('the only one')).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
});
