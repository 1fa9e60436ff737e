import { expect, it } from 'vitest';

import { toJsonb } from '../../src/db/json.ts';

it.each([
  ['a NUL', 'a\0b', 'a\u2400b'],
  ['the first half of a pair', 'a\ud83db', 'a\ufffdb'],
  ['the second half of a pair', 'a\ude00b', 'a\ufffdb'],
])('what cannot be stored is replaced: %s', (_what, text, stored) => {
  expect(JSON.parse(toJsonb({ text, list: [text, 1], nested: { text } }))).toEqual({
    text: stored,
    list: [stored, 1],
    nested: { text: stored },
  });
});

it.each(['a whole pair \u{1f600}', 'letters that look like one: \\u0000 \\ud83d', 'a control \u0001', ''])(
  'what can be stored stays: %j',
  (text) => {
    expect(JSON.parse(toJsonb([text, null, { text }]))).toEqual([text, null, { text }]);
  },
);
