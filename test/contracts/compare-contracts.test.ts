import { describe, expect, test } from 'vitest';
import { compareContracts } from '../../src/contracts/compare-contracts.ts';
import {
  compileContract,
  type Contract,
  type ContractSchema,
  type RecordCheck,
  validateContract,
} from '../../src/contracts/contract.ts';

function contractOf(properties: Record<string, ContractSchema>, more: object = {}): Contract {
  return validateContract({
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Reading',
    type: 'object',
    additionalProperties: false,
    properties,
    ...more,
  });
}

const before = contractOf(
  { id: { type: 'integer' }, state: { enum: ['MD', 'VA'], type: 'string' }, note: { type: 'string', maxLength: 10 } },
  { required: ['id'] },
);

describe('comparing versions of a contract', () => {
  test.each([
    ['a new optional property of a closed contract', { more: { type: 'string' } }, {}, true, 'ADDED properties /more'],
    ['a longer enum', { state: { enum: ['DC', 'MD', 'VA'], type: 'string' } }, {}, true, 'CHANGED enum /state'],
    ['a shorter enum', { state: { enum: ['MD'], type: 'string' } }, {}, false, 'CHANGED enum /state'],
    ['a higher upper limit', { note: { type: 'string', maxLength: 11 } }, {}, true, 'CHANGED maxLength /note'],
    ['a lower upper limit', { note: { type: 'string', maxLength: 9 } }, {}, false, 'CHANGED maxLength /note'],
    ['a limit that goes', { note: { type: 'string' } }, {}, true, 'REMOVED maxLength /note'],
    [
      'a pattern that comes',
      { note: { type: 'string', maxLength: 10, pattern: 'a' } },
      {},
      false,
      'ADDED pattern /note',
    ],
    ['null that comes', { note: { type: ['string', 'null'], maxLength: 10 } }, {}, true, 'CHANGED type /note'],
    ['a column’s other type', { id: { type: 'number' } }, {}, false, 'CHANGED type /id'],
    ['a required property more', {}, { required: ['id', 'note'] }, false, 'ADDED required /note'],
    ['a required property less', {}, { required: [] }, true, 'REMOVED required /id'],
    ['a closed contract that opens', {}, { additionalProperties: true }, true, 'CHANGED additionalProperties '],
    ['words for people', {}, { description: 'What a station reads.' }, true, 'ADDED description '],
  ] as [string, Record<string, ContractSchema>, object, boolean, string][])(
    'tells of %s',
    (_what, properties, more, compatible, change) => {
      const after = contractOf({ ...before.properties, ...properties }, { required: ['id'], ...more });
      const comparison = compareContracts(before, after);
      const told = comparison.changes.map(({ kind, keyword, path }) => `${kind} ${keyword} ${path}`);
      expect([told, comparison.compatible]).toEqual([[change], compatible]);
    },
  );

  test('counts a property that goes, and one that comes to an open contract, as breaking', () => {
    const open = contractOf({ id: { type: 'integer' }, note: {} }, { additionalProperties: true });
    const without = contractOf({ id: { type: 'integer' } }, { additionalProperties: true });
    expect(compareContracts(open, without)).toMatchObject({ compatible: false, changes: [{ kind: 'REMOVED' }] });
    expect(compareContracts(without, open)).toMatchObject({ compatible: false, changes: [{ kind: 'ADDED' }] });
  });

  test('looks through references, and finds nothing where two say the same', () => {
    const referring = contractOf(
      { a: { $ref: '#/$defs/code' } },
      { $defs: { code: { type: 'string', minLength: 2 } } },
    );
    const plain = contractOf({ a: { minLength: 2, type: 'string' } });
    expect(compareContracts(referring, plain)).toEqual({ compatible: true, changes: [] });
    const stricter = contractOf({ a: { $ref: '#/$defs/code' } }, { $defs: { code: { type: 'string', minLength: 3 } } });
    expect(compareContracts(referring, stricter).changes).toMatchObject([{ path: '/a', breaking: true }]);
  });

  test('never calls two versions compatible of which a record meets only the first', () => {
    const leaves: ContractSchema[] = [
      true,
      {},
      { type: 'string' },
      { type: 'string', minLength: 2 },
      { type: ['string', 'null'], maxLength: 3 },
      { type: 'string', enum: ['a', 'b'] },
      { type: 'string', enum: ['a', 'b', 'ccc'] },
      { type: 'string', pattern: '^a' },
      { type: 'integer', minimum: 3 },
      { type: 'integer', minimum: 1, maximum: 9 },
      { type: 'integer', multipleOf: 6 },
      { type: 'integer', multipleOf: 3 },
      { type: 'number', exclusiveMinimum: 3 },
      { anyOf: [{ type: 'string' }] },
      { anyOf: [{ type: 'string' }, { type: 'null' }] },
      { allOf: [{ type: 'string' }] },
      { not: { const: 'a' } },
      { if: { type: 'string' }, then: { minLength: 2 } },
      { type: 'array', items: { type: 'string' }, minItems: 1 },
      { type: 'array', items: { type: 'string', minLength: 2 } },
      { type: 'array', prefixItems: [{ type: 'string' }], items: { type: 'integer' } },
      { type: 'object', properties: { x: { type: 'integer' } }, additionalProperties: false },
      { type: 'object', properties: { x: { type: 'integer' }, y: { type: 'integer' } } },
    ];
    const shapes: { contract: Contract; meets: RecordCheck }[] = [
      ...leaves.map((leaf) => unchecked({ a: leaf }, {})),
      ...leaves.filter((_leaf, at) => at % 4 === 0).map((leaf) => unchecked({ a: leaf }, { required: ['a'] })),
      ...[true, { type: 'string' }].map((additionalProperties) => unchecked({}, { additionalProperties })),
      ...[true, { type: 'string' }].map((additionalProperties) =>
        unchecked({ a: leaves[2] ?? {} }, { additionalProperties }),
      ),
      unchecked({}, {}),
    ].map((contract) => ({ contract, meets: compileContract(contract) }));
    const values: unknown[] = [
      ...['', 'a', 'ab', 'ccc', 'dddd', null, 0, 3, 6, 12, 3.5, true, [], ['a'], ['bb'], ['a', 1], [1]],
      ...[{}, { x: 1 }, { x: 'a' }, { y: 'a' }],
    ];
    const records = [{}, ...values.flatMap((value) => [{ a: value }, { other: value }, { a: value, other: 'a' }])];
    let compatible = 0;
    for (const one of shapes) {
      for (const other of shapes) {
        if (one === other || !compareContracts(one.contract, other.contract).compatible) continue;
        compatible += 1;
        for (const each of records)
          if (one.meets(each).length === 0) expect([each, other.meets(each)]).toEqual([each, []]);
      }
    }
    expect(compatible).toBeGreaterThan(40);
  });
});

/** Not validated, because that compiles it once more. */
function unchecked(properties: Record<string, ContractSchema>, more: object): Contract {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Shape',
    type: 'object',
    additionalProperties: false,
    properties: { id: {}, ...properties },
    ...more,
  };
}
