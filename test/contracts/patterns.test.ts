import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { patternProblem } from '../../src/contracts/pattern-safety.ts';

describe('a pattern that could run for ever is refused', () => {
  it.each([
    '^(a+)+$',
    '^(a*)*$',
    '^(a|a)*$',
    '^(a|aa)+$',
    '(.*)*x',
    '(x+x+)+y',
    '^(\\w+\\s?)*$',
    '^([a-z]+)*[0-9]$',
    '^(([a-z])+.)+[A-Z]([a-z])+$',
    '^([a-zA-Z0-9])(([\\-.]|[_]+)?([a-zA-Z0-9]+))*@$',
    '^(?:\\p{L}+-?)+$',
    `^(${Array.from({ length: 20 }, () => '\\p{Lu}').join('|')})*$`,
  ])('%s takes exponential time', (pattern) => {
    expect(patternProblem(pattern)).toContain('exponential');
  });

  it.each(['^a*a*a*b$', '^\\s+\\s+\\s+$', '.*a.*b.*', '^(.*,){11}P', '^\\d{0,9}\\d{0,9}\\d{0,9}$'])(
    '%s takes cubic time or worse',
    (pattern) => {
      expect(patternProblem(pattern)).toContain('cubic');
    },
  );

  it.each([
    '^(?:|){30}$',
    '^(?:|a|){30}b',
    '^(?:a+(?:b|b)){30}c',
    '^(?:(?:a|a)b){100}$',
    '^(\\d{0,9}){10}$',
    `^${'.*'.repeat(40)}$`,
    '^(a?){30}a{30}$',
    `^${'a?'.repeat(30)}${'a'.repeat(30)}$`,
    '^([ab][ab]?){0,7}([ab][ab]?){0,7}c$',
  ])('%s offers too many choices', (pattern) => {
    expect(patternProblem(pattern)).toContain('too many ways');
  });

  it.each([
    ['^(?=a)b', 'look-around'],
    ['^(?!a)b', 'look-around'],
    ['(?<=a)b', 'look-around'],
    ['(?<!a)b', 'look-around'],
    ['^(a)\\1$', 'back-reference'],
    ['^(?<x>a)\\k<x>$', 'back-reference'],
    ['(', 'regular expression'],
    ['a{2,1}', 'regular expression'],
    ['\\q', 'regular expression'],
    ['x'.repeat(513), 'longer than 512'],
    [`${'('.repeat(20_000)}a${')'.repeat(20_000)}`, 'longer than 512'],
    [`^${'a'.repeat(301)}$`, 'too long'],
    [`^${'(?:'.repeat(60)}|${'){9}'.repeat(60)}$`, 'too complicated'],
    [`^${'.*'.repeat(200)}$`, 'too complicated'],
    [`^(${Array.from({ length: 100 }, () => '[ab]').join('|')})*$`, 'too complicated'],
  ])('%s is not offered', (pattern, why) => {
    expect(patternProblem(pattern)).toContain(why);
  });
});

describe('a usual pattern is accepted', () => {
  it.each([
    '',
    '^$',
    'a|b',
    'f.*o',
    '[A-Z]+',
    '^[A-Z]{3}$',
    '^[0-9]{5}(-[0-9]{4})?$',
    '^[0-9]{500}$',
    '^[A-Z]{2,3}[A-Z0-9]{1,4}$',
    '^(AL|AK|AZ|AR|CA|CO|CT|DE|DC|FL|GA|HI|ID|IL|IN|IA)$',
    '^(January|February|March|April|May|June|July|August|September|October|November|December)$',
    '^[^@]+@[^@]+\\.[^@]+$',
    '^[a-z0-9]+(-[a-z0-9]+)*$',
    '^\\p{L}+( \\p{L}+)*$',
    '^\\P{Cc}*$',
    '^.{1,100}-.{1,100}$',
    '^.*foo.*$',
    '^(a|b)*$',
    '^(ab?){2,30}$',
    '^[\\w-]+$',
    '^[\\]a\\b-]+$',
    '^[^\\d\\s]*\\D\\W\\S$',
    '\\bfoo\\B',
    '^(?<year>[0-9]{4})(?:-[0-9]{2}){2}$',
    '^(?:[0-9]{1,3}\\.){3}[0-9]{1,3}$',
    '^[+-]?[0-9]*[.]?[0-9]+([eE][+-]?[0-9]+)?$',
    '^\\u{1F600}\\uD83D\\uDE00\\u0041\\x41\\cA\\0\\t\\/$',
    '^a+?b{2,}?$|^c$',
    '^https://[a-z.]+/[^\\s]*$',
  ])('%s', (pattern) => {
    expect(patternProblem(pattern)).toBeNull();
  });
});

describe('what is accepted', () => {
  const atom = fc.constantFrom('a', 'b', '[ab]', '.', '[^a]', 'ab');
  const pattern = fc.letrec<{ node: string }>((tie) => ({
    node: fc.oneof(
      { maxDepth: 4 },
      atom,
      fc.tuple(tie('node'), tie('node')).map(([left, right]) => `${left}${right}`),
      fc.tuple(tie('node'), tie('node')).map(([left, right]) => `(?:${left}|${right})`),
      fc
        .tuple(tie('node'), fc.constantFrom('*', '+', '?', '{0,3}', '{2}', '{1,9}'))
        .map(([body, sign]) => `(?:${body})${sign}`),
    ),
  })).node;
  const text = fc
    .tuple(
      fc.array(fc.constantFrom('a', 'b', 'ab', 'aab'), { minLength: 1, maxLength: 4 }),
      fc.constantFrom('', '\n', 'c'),
    )
    .map(([unit, end]) => unit.join('').repeat(200).slice(0, 200) + end);

  it('never takes long on a text that is made to fail', () => {
    fc.assert(
      fc.property(pattern, text, (body, value) => {
        const whole = `^${body}$`;
        fc.pre(patternProblem(whole) === null);
        const started = performance.now();
        new RegExp(whole, 'u').test(value);
        // Quadratic in 200 characters times 65,536 ways is a bound; what happens stays far below it.
        expect(performance.now() - started).toBeLessThan(2_000);
      }),
      { numRuns: 2_000, seed: 8725 },
    );
  });
});
