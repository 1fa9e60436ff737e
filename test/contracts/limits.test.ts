import { describe, expect, it } from 'vitest';

import { compileContract, validateContract } from '../../src/contracts/contract.ts';
import { validatePipelineDefinition, validateRunPayload } from '../../src/contracts/documents.ts';
import { contractLimits } from '../../src/contracts/limits.ts';
import { isFluxError, type Issue } from '../../src/errors.ts';

const base = { $schema: 'https://json-schema.org/draft/2020-12/schema', title: 'A record', type: 'object' };

function contract(properties: Record<string, unknown>, more: Record<string, unknown> = {}): Record<string, unknown> {
  return { ...base, properties, ...more };
}

function issuesOf(document: unknown): readonly Issue[] {
  try {
    validateContract(document);
    return [];
  } catch (error) {
    if (isFluxError(error, 'CONTRACT_INVALID')) return error.details.issues ?? [];
    throw error;
  }
}

/** References one behind the other; each is counted as often as it is followed. */
function chain(length: number): Record<string, unknown> {
  const links = Array.from({ length }, (_none, at) => [`d${String(at + 1)}`, { $ref: `#/$defs/d${String(at)}` }]);
  const $defs = { d0: { type: 'string' }, ...Object.fromEntries(links) };
  return contract({ a: { $ref: `#/$defs/d${String(length)}` } }, { $defs });
}

const rulesOf = (document: unknown): string[] => issuesOf(document).map(({ rule }) => rule);

describe('a contract stays within its limits', () => {
  it('is refused above 64 kB and accepted just below', () => {
    const rest = JSON.stringify(contract({ a: { description: '' } })).length;
    const long = (bytes: number): unknown => contract({ a: { description: 'x'.repeat(bytes - rest) } });
    expect(rulesOf(long(contractLimits.bytes))).toEqual([]);
    expect(rulesOf(long(contractLimits.bytes + 1))).toEqual(['maxBytes']);
  });

  it('counts bytes, not characters', () => {
    expect(rulesOf(contract({ a: { description: '€'.repeat(30_000) } }))).toEqual(['maxBytes']);
  });

  it('is refused when it nests deeper than 32 levels', () => {
    // Each `not` is one level below the document and its `properties`.
    const nested = (levels: number): unknown =>
      Array.from({ length: levels }).reduce<unknown>((inside) => ({ not: inside }), { type: 'string' });
    expect(rulesOf(contract({ a: nested(29) }))).toEqual([]);
    expect(rulesOf(contract({ a: nested(30) }))).toEqual(['maxDepth']);
  });

  it('is refused before anything recursive meets a nesting that would break it', () => {
    const deep = Array.from({ length: 200_000 }).reduce<unknown>((inside) => [inside], 0);
    expect(rulesOf(contract({ a: { enum: [deep] } }))).toEqual(['maxDepth']);
  });

  it('is refused above 500 subschemas', () => {
    const wide = (count: number): unknown =>
      contract({ a: { anyOf: Array.from({ length: count }, (_none, at) => ({ const: at })) } });
    expect(rulesOf(wide(498))).toEqual([]);
    expect(rulesOf(wide(499))).toEqual(['maxSubschemas']);
  });

  it('counts a reference as often as it is followed, so that doubling does not hide behind $defs', () => {
    const levels = Array.from({ length: 30 }, (_none, at) => [
      `d${at + 1}`,
      { allOf: [{ $ref: `#/$defs/d${at}` }, { $ref: `#/$defs/d${at}` }] },
    ]);
    const document = contract(
      { a: { $ref: '#/$defs/d30' } },
      { $defs: { d0: { type: 'string' }, ...Object.fromEntries(levels) } },
    );
    expect(rulesOf(document)).toEqual(['maxSubschemas']);
  });

  it.each([
    ['to itself', { a: { $ref: '#/properties/a' } }],
    ['in a circle', { a: { allOf: [{ $ref: '#/properties/b' }] }, b: { items: { $ref: '#/properties/a' } } }],
  ])('is refused when it refers %s', (_how, properties) => {
    expect(rulesOf(contract(properties))).toEqual(['$ref']);
  });

  it.each([
    'https://example.gov/x.json',
    'file:///etc/passwd',
    'other.json#/a',
    '#anchor',
    'urn:x',
    '#/$defs/%E0%A4%A',
  ])('is refused for the reference %s', ($ref) => {
    expect(rulesOf(contract({ a: { $ref } }))).toEqual(['$ref']);
  });

  it.each([
    ['enum', { enum: [{ pattern: '^(a+)+$' }] }, '#/properties/b/enum/0'],
    ['const', { const: { pattern: '^(a+)+$' } }, '#/properties/b/const'],
    ['examples', { examples: [{ $dynamicRef: '#x' }] }, '#/properties/b/examples/0'],
    ['a list', { anyOf: [{ type: 'string' }] }, '#/properties/b/anyOf'],
    ['a map', { properties: { c: {} } }, '#/properties/b/properties'],
    ['a number', { minLength: 3 }, '#/properties/b/minLength'],
  ])('is refused where a reference takes %s for a schema, whose patterns nobody has looked at', (_what, b, $ref) => {
    expect(issuesOf(contract({ a: { $ref }, b }))).toEqual([
      { path: '/properties/a/$ref', rule: '$ref', message: `points at no schema, found "${$ref}"` },
    ]);
  });

  it('follows a reference to a schema wherever one stands, to true and false as well', () => {
    const document = contract(
      { a: { $ref: '#/$defs/any' }, b: { $ref: '#/properties/c/anyOf/1' }, c: { anyOf: [{ const: 1 }, { const: 2 }] } },
      { $defs: { any: true } },
    );
    expect(rulesOf(document)).toEqual([]);
  });

  it.each([
    ['a long chain of references', chain(200), 'maxSubschemas'],
    ['a count beyond the engines’', contract({ a: { pattern: '^((a{1000}){1000}){1000}$' } }), 'pattern'],
    ['repeats within repeats', contract({ a: { pattern: '(a{0,200}){0,200}b' } }), 'pattern'],
    ['an unsafe pattern of names', contract({ a: {} }, { patternProperties: { '^(a+)+$': {} } }), 'pattern'],
    ['a circle that nothing uses', contract({ a: {} }, { $defs: { x: { items: { $ref: '#/$defs/x' } } } }), '$ref'],
    ['the whole inside itself', contract({ a: { $ref: '#' } }), '$ref'],
  ])('is refused in no time for %s', (_what, document, rule) => {
    const started = performance.now();
    expect(rulesOf(document)).toEqual([rule]);
    expect(performance.now() - started).toBeLessThan(2_000);
  });

  it.each(['^a{100000}$', '^a{2147483648}$', '^[0-9]{0,5000}$'])('checks a value in no time against %s', (pattern) => {
    const check = compileContract(validateContract(contract({ a: { type: 'string', pattern } })));
    const started = performance.now();
    check({ a: `${'a'.repeat(200_000)}!` });
    expect(performance.now() - started).toBeLessThan(2_000);
  });

  it('follows a reference with escaped names', () => {
    const document = contract({ a: { $ref: '#/$defs/x~1y~0z%20' } }, { $defs: { 'x/y~z ': { type: 'integer' } } });
    expect(compileContract(validateContract(document))({ a: 'one' })).toMatchObject([{ path: '/a', rule: 'type' }]);
  });

  it('names every unsafe pattern with its place', () => {
    const document = contract({ a: { pattern: '^(a+)+$' }, b: { items: { pattern: '(' } } });
    expect(issuesOf(document).map(({ path }) => path)).toEqual([
      '/properties/a/pattern',
      '/properties/b/items/pattern',
    ]);
  });

  it('spends one budget on all of its patterns', () => {
    const costly = `^(${Array.from({ length: 40 }, () => '[a-z]').join('|')}|x)*$`;
    const properties = Object.fromEntries(Array.from({ length: 100 }, (_none, at) => [`p${at}`, { pattern: costly }]));
    const started = performance.now();
    expect(rulesOf(contract(properties))).toHaveLength(100);
    expect(performance.now() - started).toBeLessThan(5_000);
  });
});

describe('names that JavaScript gives to every object', () => {
  it('are required like any other', () => {
    const check = compileContract(
      validateContract(contract({ toString: {}, constructor: {} }, { required: ['toString', 'constructor'] })),
    );
    expect(check({}).map(({ path, rule }) => `${path} ${rule}`)).toEqual([
      '/toString required',
      '/constructor required',
    ]);
    expect(check({ toString: 1, constructor: 2 })).toEqual([]);
  });

  it('do not pass as known properties', () => {
    const check = compileContract(validateContract(contract({ a: {} }, { additionalProperties: false })));
    expect(check(JSON.parse('{"__proto__": 1}'))).toMatchObject([{ path: '/__proto__', rule: 'additionalProperties' }]);
    expect(check({ hasOwnProperty: 1 })).toMatchObject([{ path: '/hasOwnProperty', rule: 'additionalProperties' }]);
  });

  it.each([
    [
      'a contract',
      (): unknown => validateContract(JSON.parse('{"properties": {"__proto__": {"type": "string"}}}')),
      'CONTRACT_INVALID',
    ],
    [
      'a pipeline',
      (): unknown => validatePipelineDefinition(JSON.parse('{"__proto__": {"name": "x"}}')),
      'INVALID_INPUT',
    ],
    ['a payload', (): unknown => validateRunPayload(JSON.parse('{"metadata": {"__proto__": 1}}')), 'INVALID_INPUT'],
  ])('__proto__ is refused in %s', (_what, validate, code) => {
    expect(validate).toThrowError(
      expect.objectContaining({ code, message: expect.stringContaining('__proto__') as string }) as Error,
    );
  });
});

describe('a contract', () => {
  it.each([null, true, 'text', 7, [], new Date(0)])('is refused when it is %s', (document) => {
    expect(issuesOf(document).length).toBeGreaterThan(0);
  });

  it('collides with no other of the same $id', () => {
    const one = contract({ a: { type: 'string' } }, { $id: 'urn:example:same' });
    const two = contract({ a: { type: 'integer' } }, { $id: 'urn:example:same' });
    expect(compileContract(validateContract(one))({ a: 'x' })).toEqual([]);
    expect(compileContract(validateContract(two))({ a: 'x' })).toHaveLength(1);
  });

  it('reports every broken rule of a record, with what was found', () => {
    const check = compileContract(
      validateContract(
        contract({ id: { pattern: '^[0-9]{5}$' }, rate: { type: 'number', maximum: 1 } }, { required: ['id', 'year'] }),
      ),
    );
    expect(check({ id: '1001', rate: 7.5 })).toEqual([
      { path: '/year', rule: 'required', message: 'is required' },
      { path: '/id', rule: 'pattern', message: 'must match pattern "^[0-9]{5}$", found "1001"' },
      { path: '/rate', rule: 'maximum', message: 'must be <= 1, found 7.5' },
    ]);
  });

  it('shortens long values, and stops at fifty reasons', () => {
    const check = compileContract(
      validateContract(contract({ a: { maxLength: 3 }, b: { items: { type: 'string' } } })),
    );
    const [first] = check({ a: 'x'.repeat(5_000) });
    expect(first?.message.length).toBeLessThan(150);
    expect(check({ b: Array.from({ length: 500 }, (_none, at) => at) })).toHaveLength(50);
  });
});

describe('the formats of dates and times', () => {
  const check = compileContract(
    validateContract(
      contract({
        date: { format: 'date' },
        'date-time': { format: 'date-time' },
        'local-date-time': { format: 'local-date-time' },
      }),
    ),
  );
  it.each([
    ['date', '2000-02-29', true],
    ['date', '1900-02-29', false],
    ['date', '2001-02-29', false],
    ['date', '2001-04-31', false],
    ['date', '0000-01-01', false],
    ['date', '2001-1-1', false],
    ['date', '2001-01-01T00:00:00Z', false],
    ['date', '२००१-०१-०१', false],
    ['date-time', '2001-01-01T00:00:00Z', true],
    ['date-time', '2001-01-01t00:00:00.123456+05:30', true],
    ['date-time', '2001-01-01T00:00:00', false],
    ['date-time', '2001-01-01 00:00:00Z', false],
    ['date-time', '2001-01-01T24:00:00Z', false],
    ['date-time', '2016-12-31T23:59:60Z', false],
    ['date-time', '2001-01-01T00:00:00.1234567Z', false],
    ['date-time', '2001-02-30T00:00:00Z', false],
    ['local-date-time', '2001-01-01T00:00:00', true],
    ['local-date-time', '2001-01-01T00:00:00Z', false],
    ['local-date-time', '2001-02-30T00:00:00', false],
  ])('%s: %s is %s', (format, text, valid) => {
    expect(check({ [format]: text }).length === 0).toBe(valid);
  });
});
