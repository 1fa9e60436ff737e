import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';

import { validateContract } from '../../src/contracts/contract.ts';
import { type ApartOptions, ContractValidator } from '../../src/contracts/validate-apart.ts';
import { FluxError } from '../../src/errors.ts';

const base = { $schema: 'https://json-schema.org/draft/2020-12/schema', title: 'A record', type: 'object' };
const contract = (properties: Record<string, unknown>, more: object = {}): object => ({ ...base, properties, ...more });
const child = (name: string): URL => new URL(`../support/contract-children/${name}.ts`, import.meta.url);

const validator = new ContractValidator();

async function refusalOf(document: unknown, options?: ApartOptions): Promise<FluxError> {
  const by = options === undefined ? validator : new ContractValidator(options);
  const error = await by.validate(document).then(
    () => null,
    (cause: unknown) => cause,
  );
  if (!(error instanceof FluxError)) throw new Error('was not refused');
  return error;
}

/** Patterns, references, lists and combinations that cost whoever meets them unprepared. */
const hostile: readonly [string, unknown][] = [
  ['a reference to itself', contract({ a: { $ref: '#/properties/a' } })],
  [
    'references that double thirty times',
    contract(
      { a: { $ref: '#/$defs/d30' } },
      {
        $defs: {
          d0: { type: 'string' },
          ...Object.fromEntries(
            Array.from({ length: 30 }, (_none, i) => [
              `d${String(i + 1)}`,
              { allOf: [{ $ref: `#/$defs/d${String(i)}` }, { $ref: `#/$defs/d${String(i)}` }] },
            ]),
          ),
        },
      },
    ),
  ],
  ['a nesting of 100,000', contract({ a: Array.from({ length: 100_000 }).reduce<unknown>((a) => ({ not: a }), true) })],
  ['a pattern of exponential time', contract({ a: { type: 'string', pattern: '^(a+)+$' } })],
  ['a pattern of cubic time', contract({ a: { type: 'string', pattern: 'a*a*a*a*b' } })],
  [
    'thousands of allOf',
    contract({ a: { allOf: Array.from({ length: 3_000 }, (_none, i) => ({ maxLength: i + 1 })) } }),
  ],
  ['a list of 100,000 values', contract({ a: { enum: Array.from({ length: 100_000 }, (_none, i) => i) } })],
];

describe('a contract is compiled in a process of its own', () => {
  it('and comes back as validateContract gives it', async () => {
    const document = contract({
      'käse \ud83e\uddc0': { type: 'string', pattern: '^\\d{3}$' },
      n: { enum: [1e21, -0, 1e-7] },
    });
    expect(await validator.validate(document)).toEqual(validateContract(document));
  });

  it('with the same refusals', async () => {
    for (const [what, document] of hostile) {
      let expected: unknown;
      try {
        validateContract(document);
      } catch (cause) {
        expected = cause;
      }
      expect(expected, what).toBeInstanceOf(FluxError);
      const { code, message, details } = expected as FluxError;
      expect(await refusalOf(document), what).toMatchObject({ code, message, details });
    }
  });

  it('which compiles the dearest that the limits let through', async () => {
    const values = Array.from({ length: 12_000 }, (_none, i) => i);
    const objects = Array.from({ length: 3_500 }, (_none, i) => ({ a: i }));
    const choices = Array.from({ length: 490 }, (_none, i) => ({ required: [`p${String(i)}`] }));
    expect(await validator.validate(contract({ a: { enum: values } }))).toHaveProperty('title');
    expect(await validator.validate(contract({ a: { enum: objects } }))).toHaveProperty('title');
    expect(await validator.validate(contract({ a: { type: 'object', oneOf: choices } }))).toHaveProperty('title');
  });

  it('which is killed when it does not end, while everything else goes on', async () => {
    const refusal = refusalOf(contract({ a: {} }), { program: child('never-ends'), timeoutMs: 500 });
    const ended = { yet: false };
    void refusal.finally(() => (ended.yet = true));
    let turns = 0;
    while (!ended.yet) {
      await turn();
      turns += 1;
    }
    expect(await refusal).toMatchObject({ code: 'CONTRACT_INVALID', details: { issues: [{ rule: 'compileTime' }] } });
    // A compilation in this process would have left it one.
    expect(turns).toBeGreaterThan(50);
  });

  it('which ends when it takes too much memory', async () => {
    const error = await refusalOf(contract({ a: {} }), { program: child('fills-memory'), heapMegabytes: 32 });
    expect(error).toMatchObject({ code: 'CONTRACT_INVALID', details: { issues: [{ rule: 'compileMemory' }] } });
  });

  it('and a process that is not there is nobody’s mistake', async () => {
    expect(await refusalOf(contract({ a: {} }), { program: child('nowhere') })).toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('each in its turn, and one that ends the process stands in no other’s way', async () => {
    const own = new ContractValidator({ program: child('ends-when-told') });
    const outcomes = [false, true, false, false, true, false].map((end) =>
      own.validate(contract({ a: {} }, end ? { title: 'end' } : {})).then(
        () => 'valid',
        ({ code }: FluxError) => code,
      ),
    );
    expect(await Promise.all(outcomes)).toEqual(['valid', 'UNAVAILABLE', 'valid', 'valid', 'UNAVAILABLE', 'valid']);
  });
});
