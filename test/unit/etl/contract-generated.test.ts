import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import contractSchema from '../../../schemas/v1/contract.schema.json' with { type: 'json' };
import { keywordCoverage } from '../../../scripts/contract-keyword-coverage.ts';
import { compileContract, type Contract } from '../../../src/contracts/contract.ts';
import { modelContract } from '../../../src/etl/ingest/contract-model.ts';
import { columnTypeOf, SqlJudge, wrapped } from '../../support/contract-verdicts.ts';

/** How many times the usual number of contracts: FLUX_CONTRACT_SEEDS=50 is the long run, in which a seed is another one each time. */
const times = Number(process.env['FLUX_CONTRACT_SEEDS'] ?? 1);

const word = fc.constantFrom(
  '',
  'a',
  'ab',
  'AB1',
  'é',
  '😀',
  '2020-02-29',
  '2021-02-29',
  'x@example.gov',
  '-0',
  ' a\n',
);
const number = fc.oneof(
  fc.integer({ min: -9, max: 9 }),
  fc.constantFrom(0.5, -2.5, 0.1, 1e21, -(2 ** 63), 2 ** 53 - 1, 3.0),
);
const value = fc.oneof(word, number, fc.boolean());

/** The one thing that a contract's SQL asks beyond JSON Schema: an integer that the dataset's column can hold. */
function beyondColumn(contract: Contract, value: unknown): boolean {
  return (
    modelContract(contract).fields[0]?.kind === 'integer' &&
    Number.isInteger(value) &&
    ((value as number) >= 2 ** 63 || (value as number) < -(2 ** 63))
  );
}

const maybe = <T>(name: string, arbitrary: fc.Arbitrary<T>): fc.Arbitrary<object> =>
  fc.option(arbitrary, { freq: 2 }).map((each) => (each === null ? {} : { [name]: each }));
const merge = (...parts: fc.Arbitrary<object>[]): fc.Arbitrary<object> =>
  fc.tuple(...parts).map((each) => Object.assign({}, ...each) as object);

const ofNumbers = (type: string): fc.Arbitrary<object> =>
  merge(
    fc.constantFrom({ type }, { type: [type, 'null'] }),
    maybe('minimum', number),
    maybe('exclusiveMaximum', number),
    maybe('multipleOf', fc.constantFrom(1, 2, 0.5, 0.1)),
    maybe('enum', fc.uniqueArray(number, { minLength: 1, maxLength: 3 })),
  );
const ofText = merge(
  fc.constantFrom({ type: 'string' }, { type: ['string', 'null'] }),
  maybe('minLength', fc.integer({ min: 0, max: 3 })),
  maybe('maxLength', fc.integer({ min: 0, max: 3 })),
  maybe('pattern', fc.constantFrom('^[A-Z]', 'a|b$', '^.$', '\\s', '^\\S*$', '[^a]')),
  maybe('format', fc.constantFrom('date', 'email', 'uuid')),
  maybe('const', word),
);
const simple = fc.oneof(ofNumbers('integer'), ofNumbers('number'), ofText, fc.constant({ type: 'boolean' }));
const schema = fc.oneof(
  { weight: 3, arbitrary: simple },
  fc.tuple(simple, simple).map(([one, other]) => ({ anyOf: [one, other] })),
  fc.tuple(simple, simple).map(([one, other]) => ({ ...one, not: other })),
  fc.tuple(simple, simple).map(([one, other]) => ({ ...one, allOf: [other] })),
  fc.tuple(simple, simple, simple).map(([one, then, other]) => ({ if: one, then, else: other })),
);

describe('generated contracts', () => {
  let judge: SqlJudge;
  beforeAll(async () => {
    judge = await SqlJudge.open();
  });
  afterAll(() => judge.close());

  test(
    'are judged alike by SQL and by Ajv, and SQL alone never refuses what Ajv lets pass',
    async () => {
      await fc.assert(
        fc.asyncProperty(schema, fc.array(value, { minLength: 1, maxLength: 8 }), async (rules, values) => {
          const contract = wrapped(rules) as unknown as Contract;
          const check = compileContract(contract);
          for (const [type, alike] of Map.groupBy(values, columnTypeOf)) {
            const verdicts = (type === null ? null : await judge.judge(contract, type, alike)) ?? [];
            for (const [at, { refused, refusedBySql }] of verdicts.entries()) {
              const expected = check({ value: alike[at] }).length > 0 || beyondColumn(contract, alike[at]);
              expect([alike[at], refused]).toEqual([alike[at], expected]);
              if (refusedBySql) expect([alike[at], expected]).toEqual([alike[at], true]);
            }
          }
        }),
        { numRuns: 120 * times },
      );
    },
    60_000 * times,
  );

  test('that name any offered keyword have a line that says who checks it', () => {
    const said = new Set(keywordCoverage().map(({ keyword }) => keyword));
    const silent = ['$schema', '$id', '$comment', '$defs', 'title', 'description', 'examples', 'deprecated'];
    // Each goes the way of the keyword that it completes.
    const companions = ['then', 'else', 'minContains', 'maxContains', 'additionalProperties', 'required'];
    const offered = Object.keys(contractSchema.$defs.keywords.properties);
    expect(offered.filter((keyword) => ![...said, ...silent, ...companions].includes(keyword))).toEqual([]);
  });
});
