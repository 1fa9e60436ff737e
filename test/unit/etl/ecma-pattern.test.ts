import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DuckDbSession } from '../../../src/etl/duckdb/session.ts';
import { literal } from '../../../src/etl/duckdb/sql-text.ts';
import { toRe2 } from '../../../src/etl/ingest/ecma-pattern.ts';

const letter = fc.constantFrom(
  'a',
  'b',
  'Z',
  '0',
  '7',
  '_',
  '-',
  ' ',
  'é',
  '日',
  '😀',
  '\n',
  '\r',
  '\u2028',
  '\u00a0',
  '.',
  '^',
  ']',
  '"',
  "'",
);
const text = fc.array(letter, { maxLength: 6 }).map((parts) => parts.join(''));

const { pattern } = fc.letrec<{ pattern: string; term: string; atom: string }>((tie) => ({
  pattern: fc
    .array(fc.oneof(tie('term'), fc.constantFrom('^', '$', '|')), { maxLength: 4 })
    .map((parts) => parts.join('')),
  term: fc
    .tuple(tie('atom'), fc.constantFrom('', '', '*', '+', '?', '{2}', '{1,}', '{0,2}', '+?'))
    .map(([atom, repeat]) => atom + repeat),
  atom: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom('a', 'Z', '0', 'é', '日', '😀', '-', '.', '\\d', '\\w', '\\D', '\\W', '\\.', '\\^', '\\n', '\\/'),
    fc.constantFrom(
      '[a-z0-9]',
      '[^a]',
      '[é-😀]',
      '[\\d_-]',
      '[.^$]',
      '[\\]\\\\]',
      '[a-]',
      '[^\\w]',
      '[-a]',
      '["\']',
      '[[a]',
    ),
    tie('pattern').map((inner) => `(${inner})`),
    tie('pattern').map((inner) => `(?:${inner})`),
  ),
}));

describe('a pattern in RE2', () => {
  let session: DuckDbSession;
  beforeAll(async () => {
    session = await DuckDbSession.open({ memoryMegabytes: 128, paths: [], folders: [] });
  });
  afterAll(() => session.close());

  test('matches what ECMAScript matches, wherever it was translated', async () => {
    let translated = 0;
    await fc.assert(
      fc.asyncProperty(pattern, fc.array(text, { minLength: 5, maxLength: 20 }), async (source, texts) => {
        let expression: RegExp;
        try {
          expression = new RegExp(source, 'u');
        } catch {
          expect(toRe2(source)).toBeNull();
          return;
        }
        const re2 = toRe2(source);
        if (re2 === null) return;
        translated += 1;
        const list = texts.map((each) => literal(each)).join(', ');
        const [row] = await session.rows(
          `select list_transform([${list}], lambda x: regexp_matches(x, ${literal(re2)}))`,
        );
        expect(row?.[0]).toEqual(texts.map((each) => expression.test(each)));
      }),
      { numRuns: 400 },
    );
    expect(translated).toBeGreaterThan(150);
  });

  test.for([
    '^[A-Z0-9]{3}$',
    '^(199[0-9]|20[0-9][0-9])-',
    '^https://earthquake\\.usgs\\.gov/',
    '^,([a-z-]+,)+$',
    '\\d{1,5}',
    '^(0[1-9]|[1-5][0-9]|6[069]|7[28])[0-9]{3}$',
  ])('translates %s', (source) => expect(toRe2(source)).not.toBeNull());

  test.for([
    '(?=a)b',
    '(?<!a)b',
    '(a)\\1',
    '\\s',
    '\\p{L}',
    '\\bword',
    'a{1,2000}',
    '(?:a{30}){50}',
    '[]',
    '(?<name>a)',
    '\\u{1F600}',
  ])('leaves %s to Ajv', (source) => expect(toRe2(source)).toBeNull());
});
