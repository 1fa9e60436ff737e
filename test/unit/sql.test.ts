import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { ident, join, literal, type Sql, sql, toQuery } from '../../src/db/sql.ts';

describe('the sql tag', () => {
  test('binds every value and numbers the parameters', () => {
    expect(toQuery(sql`select ${1} + ${'two'}`)).toEqual({ text: 'select $1 + $2', values: [1, 'two'] });
  });

  test('passes text without values through as it stands', () => {
    expect(toQuery(sql`select 1`)).toEqual({ text: 'select 1', values: [] });
  });

  test('takes fragments in at any depth and keeps the order of the values', () => {
    const inner = sql`b = ${2}`;
    const middle = sql`(${inner} or c = ${3})`;
    expect(toQuery(sql`select from t where a = ${1} and ${middle} limit ${4}`)).toEqual({
      text: 'select from t where a = $1 and (b = $2 or c = $3) limit $4',
      values: [1, 2, 3, 4],
    });
  });

  test('takes adjacent fragments, and one at either end', () => {
    const two = sql`${1}${sql`, `}${2}`;
    expect(toQuery(sql`${two}${sql`;`}`)).toEqual({ text: '$1, $2;', values: [1, 2] });
  });

  test('binds what only looks like a fragment', () => {
    const impostor = { strings: ['; drop schema flux'], values: [] };
    expect(toQuery(sql`select ${impostor}`)).toEqual({ text: 'select $1', values: [impostor] });
  });

  test('uses a fragment many times without changing it', () => {
    const part = sql`x = ${1}`;
    toQuery(sql`${part} and ${part}`);
    expect(toQuery(part)).toEqual({ text: 'x = $1', values: [1] });
  });

  test('binds null, undefined, arrays and buffers as they are', () => {
    const values = [null, undefined, [1, 2], Buffer.from('x')];
    expect(toQuery(sql`${values[0]} ${values[1]} ${values[2]} ${values[3]}`).values).toEqual(values);
  });

  test('law: however fragments nest, placeholders run 1 to n and values stand in reading order', () => {
    type Tree = number | Tree[];
    const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
      tree: fc.oneof({ maxDepth: 5 }, fc.integer(), fc.array(tie('tree'), { maxLength: 4 })),
    }));
    const build = (node: Tree): Sql => (typeof node === 'number' ? sql`${node}` : sql`(${join(node.map(build))})`);
    const leaves = (node: Tree): number[] => (typeof node === 'number' ? [node] : node.flatMap(leaves));
    fc.assert(
      fc.property(tree, (node) => {
        const { text, values } = toQuery(build(node));
        expect(values).toEqual(leaves(node));
        expect([...text.matchAll(/\$(\d+)/g)].map(([, number]) => Number(number))).toEqual(
          values.map((_value, i) => i + 1),
        );
      }),
    );
  });
});

describe('join', () => {
  test('puts separators between parts, and nothing around none or one', () => {
    expect(toQuery(join([])).text).toBe('');
    expect(toQuery(join([sql`a`])).text).toBe('a');
    expect(toQuery(join([sql`a = ${1}`, sql`b = ${2}`], ' and '))).toEqual({
      text: 'a = $1 and b = $2',
      values: [1, 2],
    });
  });
});

describe('ident', () => {
  test('quotes each part and doubles quotes inside', () => {
    expect(toQuery(ident('flux', 'runs')).text).toBe('"flux"."runs"');
    expect(toQuery(ident('a"; drop schema flux; --')).text).toBe('"a""; drop schema flux; --"');
  });
});

describe('literal', () => {
  test('escapes quotes and backslashes, and refuses what PostgreSQL cannot hold', () => {
    expect(toQuery(literal("it's \\ here")).text).toBe(" E'it''s \\\\ here'");
    expect(() => literal('a\0b')).toThrow(TypeError);
  });
});
