import { expect, it } from 'vitest';

import { toFluxError } from '../../src/errors.ts';

const coded = (code: string): Error => Object.assign(new Error('something'), { code });

it.each(['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE', '53100', '53300', '25P03', '57P01', '40P01', 'ECONNRESET'])(
  'takes %s for a failure that passes by itself',
  (code) => {
    expect(toFluxError(coded(code))).toMatchObject({ code: 'UNAVAILABLE', retryable: true });
  },
);

it.each(['EACCES', '22P02', '23505'])('does not repeat %s', (code) => {
  expect(toFluxError(coded(code))).toMatchObject({ code: 'INTERNAL', retryable: false });
});
