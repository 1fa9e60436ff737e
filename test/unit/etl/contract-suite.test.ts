import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileContract, type Contract, validateContract } from '../../../src/contracts/contract.ts';
import { columnTypeOf, SqlJudge, wrapped } from '../../support/contract-verdicts.ts';

const folder = join(import.meta.dirname, '../../../../shared/data/json-schema-test-suite/tests/draft2020-12');
const absent = existsSync(folder) ? null : 'shared/data/json-schema-test-suite is not beside this checkout';

interface Group {
  file: string;
  description: string;
  schema: unknown;
  tests: { description: string; data: unknown; valid: boolean }[];
}

/**
 * Groups of the suite that are refused at registration, by file: no remote, recursive or dynamic reference, no unevaluated
 * keyword, no keyword without effect.
 */
const refusedGroups = {
  anchor: 4,
  content: 4,
  default: 3,
  defs: 1,
  dynamicRef: 21,
  enum: 1,
  format: 7,
  'if-then-else': 4,
  maxContains: 1,
  minContains: 3,
  not: 1,
  properties: 2,
  ref: 18,
  refRemote: 15,
  unevaluatedItems: 29,
  unevaluatedProperties: 44,
};

/** Where a contract asks for more than the suite: formats are checked, and no other meta-schema may switch a keyword off. */
const deviations = [
  ...['email', 'ipv4', 'ipv6', 'hostname', 'date', 'date-time', 'time', 'json-pointer'].map(
    (format) => `format: ${format} format: invalid ${format} string is only an annotation by default`,
  ),
  ...['uri', 'uri-reference', 'uuid', 'duration'].map(
    (format) => `format: ${format} format: invalid ${format} string is only an annotation by default`,
  ),
  'vocabulary: schema that uses custom metaschema with with no validation vocabulary: no validation: invalid number, but it still validates',
];

/** The required part: what lies in `optional/` is for features that an implementation may leave out. */
function groups(): Group[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .flatMap((name) =>
      (JSON.parse(readFileSync(join(folder, name), 'utf8')) as Omit<Group, 'file'>[]).map((group) => ({
        ...group,
        file: name.replace('.json', ''),
      })),
    );
}

/** References of a schema that has become a property of a record's. */
function moved(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(moved);
  if (typeof schema !== 'object' || schema === null) return schema;
  return Object.fromEntries(
    Object.entries(schema)
      .filter(([name, value]) => !((name === '$schema' || name === '$id') && typeof value === 'string'))
      .map(([name, value]) => {
        if (name === 'enum' || name === 'const') return [name, value];
        if (name === '$ref' && typeof value === 'string' && value.startsWith('#'))
          return [name, `#/properties/value${value.slice(1)}`];
        return [name, moved(value)];
      }),
  );
}

function contractOf(schema: unknown): Contract | string {
  try {
    return validateContract(wrapped(moved(schema)));
  } catch (cause) {
    const { details, message } = cause as { details?: { issues?: { rule: string; path: string }[] }; message: string };
    const [issue] = details?.issues ?? [];
    return issue ? `${issue.rule} at ${issue.path}` : message;
  }
}

describe.skipIf(absent !== null)(`the official suite for JSON Schema 2020-12${absent ? ` (${absent})` : ''}`, () => {
  let judge: SqlJudge;
  beforeAll(async () => {
    judge = await SqlJudge.open();
  });
  afterAll(() => judge.close());

  test('is judged as it asks by Ajv and by SQL, or refused at registration by name', { timeout: 120_000 }, async () => {
    const tally = { groups: 0, refused: 0, byAjv: 0, bySql: 0, bySqlAlone: 0 };
    const refused = new Map<string, number>();
    const wrong: string[] = [];
    for (const { file, description, schema, tests } of groups()) {
      tally.groups += 1;
      const contract = contractOf(schema);
      if (typeof contract === 'string') {
        tally.refused += 1;
        refused.set(file, (refused.get(file) ?? 0) + 1);
        continue;
      }
      const check = compileContract(contract);
      tally.byAjv += tests.length;
      for (const { description: what, data, valid } of tests) {
        if ((check({ value: data }).length === 0) !== valid) wrong.push(`${file}: ${description}: ${what}`);
      }
      for (const [type, typed] of Map.groupBy(tests, ({ data }) => columnTypeOf(data))) {
        const values = typed.map(({ data }) => data);
        const verdicts = type === null ? null : await judge.judge(contract, type, values);
        for (const [at, { refused, refusedBySql, fallbacks }] of (verdicts ?? []).entries()) {
          const one = typed[at] as Group['tests'][number];
          tally.bySql += 1;
          if (fallbacks.length === 0) tally.bySqlAlone += 1;
          if (refused !== check({ value: one.data }).length > 0 || (refusedBySql && !refused))
            wrong.push(`SQL and Ajv differ: ${file}: ${description}: ${one.description}`);
        }
      }
    }
    // Each required file is there, and nothing is judged by nobody.
    expect(tally).toEqual({ groups: 383, refused: 158, byAjv: 860, bySql: 344, bySqlAlone: 186 });
    expect(Object.fromEntries(refused)).toEqual(refusedGroups);
    expect(wrong).toEqual(deviations);
  });
});
