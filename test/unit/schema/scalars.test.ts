import fc from 'fast-check';
import { assertScalarType, parseValue } from 'graphql';
import { describe, expect, it } from 'vitest';

import { builder } from '../../../schema/builder.ts';
import '../../../schema/errors.ts';
import '../../../schema/scalars.ts';
import '../../../schema/viewer.ts';

const schema = builder.toSchema();
const scalar = (name: string) => assertScalarType(schema.getType(name));

describe('BigInt', () => {
  const bigInt = scalar('BigInt');

  it('carries every 64-bit number over the wire unchanged', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
        expect(bigInt.parseValue(bigInt.serialize(value))).toBe(value);
      }),
    );
  });

  it('takes numbers and literals within what is exact', () => {
    expect(bigInt.serialize(42)).toBe('42');
    expect(bigInt.parseValue(42)).toBe(42n);
    expect(bigInt.parseLiteral(parseValue('9007199254740993'))).toBe(9_007_199_254_740_993n);
    expect(bigInt.parseLiteral(parseValue('"-1"'))).toBe(-1n);
  });

  it.each([1.5, NaN, 2 ** 53, '', ' 1', '1e3', '0x1F', '01', '-0', '+1', '9223372036854775808', true, null, {}])(
    'refuses %j',
    (value) => {
      expect(() => bigInt.parseValue(value)).toThrow(/BigInt expects/);
    },
  );

  it('refuses a literal of another kind', () => {
    expect(() => bigInt.parseLiteral(parseValue('1.0'))).toThrow(/BigInt expects/);
  });
});

describe('DateTime', () => {
  const dateTime = scalar('DateTime');

  it('is an instant in UTC on the wire and takes any zone', () => {
    expect(dateTime.serialize(new Date(0))).toBe('1970-01-01T00:00:00.000Z');
    expect(dateTime.parseValue('2026-08-01T14:00:00+02:00')).toEqual(new Date('2026-08-01T12:00:00Z'));
    expect(dateTime.parseValue('2026-08-01t12:00:00.123456z')).toEqual(new Date('2026-08-01T12:00:00.123Z'));
    expect(dateTime.parseLiteral(parseValue('"2024-02-29T00:00:00Z"'))).toEqual(new Date('2024-02-29T00:00:00Z'));
  });

  it.each([
    '2026-08-01',
    '2026-08-01T12:00:00',
    '2026-02-29T00:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-08-00T00:00:00Z',
    '2026-08-01T24:01:00Z',
    '2026-08-01T12:00:00+24:00',
    1,
    null,
  ])('refuses %j', (value) => {
    expect(() => dateTime.parseValue(value)).toThrow(/DateTime expects/);
  });

  it('does not send what is no instant', () => {
    expect(() => dateTime.serialize(new Date(NaN))).toThrow(/DateTime expects/);
    expect(() => dateTime.serialize('2026')).toThrow(/DateTime expects/);
  });
});

describe('JSON', () => {
  const json = scalar('JSON');

  it('carries every JSON value unchanged', () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
        fc.pre(!JSON.stringify(value).includes('"__proto__"'));
        const wire = JSON.parse(JSON.stringify(value)) as unknown;
        expect(json.serialize(wire)).toEqual(wire);
        expect(json.parseValue(wire)).toEqual(wire);
      }),
    );
  });

  it('reads literals with variables in them', () => {
    const literal = parseValue('{ a: [1, 2.5, "x", true, null], b: $v, c: $missing }');
    expect(json.parseLiteral(literal, { v: { d: 1 } })).toEqual({ a: [1, 2.5, 'x', true, null], b: { d: 1 }, c: null });
    expect(() => json.parseLiteral(parseValue('RED'))).toThrow(/JSON expects/);
  });

  it('refuses what JSON cannot say, and a key that readers disagree about', () => {
    for (const value of [NaN, Infinity, 1n, () => 1, new Date(), Symbol('x'), JSON.parse('{"a":{"__proto__":1}}')]) {
      expect(() => json.parseValue(value)).toThrow(/JSON expects/);
    }
    expect(() => json.parseLiteral(parseValue('{ __proto__: 1 }'))).toThrow(/JSON expects/);
  });
});

describe('Scope', () => {
  it('is one of the table', () => {
    expect(scalar('Scope').serialize('run:read')).toBe('run:read');
    expect(() => scalar('Scope').serialize('run:delete')).toThrow(/Scope expects/);
  });
});
