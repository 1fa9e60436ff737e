import { describe, expect, it } from 'vitest';

import { type Contract, validateContract } from '../../src/contracts/contract.ts';
import { validatePipelineDefinition } from '../../src/contracts/documents.ts';
import { ruleIssues } from '../../src/contracts/rule-issues.ts';

const contract = validateContract({
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Strike',
  type: 'object',
  required: ['id', 'place', 'code'],
  additionalProperties: false,
  $defs: { year: { type: 'integer', minimum: 1900 } },
  properties: {
    id: { type: 'integer' },
    year: { $ref: '#/$defs/year' },
    code: { type: ['string', 'null'], maxLength: 4 },
    tags: { type: 'array', items: { type: 'string', minLength: 1 } },
    place: { type: 'object', required: ['state'], properties: { state: { type: 'string' }, zip: { type: 'string' } } },
    'a/b': { type: 'string', pattern: '^x' },
  },
});

type Rule = Record<string, unknown>;

function issues(rule: Rule, more: Record<string, unknown> = {}, judged: Contract = contract): string[] {
  const definition = validatePipelineDefinition({
    name: 'strikes',
    title: 'Strikes',
    contentType: 'text',
    useCase: 'research',
    source: { connection: 'files', path: 'strikes.csv', format: { type: 'csv' } },
    contract: { name: 'strike', version: 1, rules: [rule] },
    destination: { type: 'postgres', dataset: 'strikes', mode: 'append', evolve: true },
    ...more,
  });
  return ruleIssues(definition, judged).map(({ path, message }) => `${path} ${message}`);
}

describe('the mode of a rule', () => {
  it.each<Rule>([
    { path: '/year', rule: 'minimum', mode: 'drop_value' },
    { path: '/year', rule: 'type', mode: 'freeze' },
    { path: '/year', mode: 'drop_value' },
    { path: '/code', rule: 'maxLength', mode: 'drop_value' },
    { path: '/id', mode: 'freeze' },
    { path: '/place/state', rule: 'required', mode: 'freeze' },
    { path: '/place/zip', mode: 'drop_value' },
    { path: '/tags/0', rule: 'minLength', mode: 'drop_value' },
    { path: '/a~1b', rule: 'pattern', mode: 'drop_value' },
    { path: '', rule: 'fields', mode: 'freeze' },
    { path: '', rule: 'additionalProperties', mode: 'freeze' },
    { path: '/surplus', rule: 'additionalProperties', mode: 'freeze' },
    { path: '', rule: 'additionalProperties', mode: 'evolve' },
  ])('may be %j', (rule) => {
    expect(issues(rule)).toEqual([]);
  });

  it.each<[Rule, RegExp]>([
    [
      { path: '/yaer', rule: 'minimum', mode: 'drop_value' },
      /^\/contract\/rules\/0\/path names \/yaer, which the contract does not have; it has .*\/id, .*\/year$/,
    ],
    [{ path: '/place/nowhere/else', mode: 'freeze' }, /\/path names \/place\/nowhere\/else/],
    [
      { path: '/year', rule: 'minimun', mode: 'freeze' },
      /\/rule names minimun, which cannot be broken at \/year; known there are .*minimum/,
    ],
    [{ path: '/year', rule: 'pattern', mode: 'freeze' }, /\/rule names pattern, which cannot be broken at \/year/],
    [{ path: '/year', rule: 'fields', mode: 'freeze' }, /\/rule names fields/],
    [{ path: '/id', rule: 'type', mode: 'drop_value' }, /\/mode is drop_value, and no record can do without \/id/],
    [{ path: '/place/state', mode: 'drop_value' }, /no record can do without \/place\/state/],
    [{ path: '/year', rule: 'required', mode: 'drop_value' }, /what is missing cannot be left out/],
    [{ path: '/place', mode: 'drop_value' }, /\/place is no value/],
    [{ path: '', mode: 'drop_value' }, /the record itself is no value/],
    [
      { path: '/year', rule: 'minimum', mode: 'evolve' },
      /has the mode evolve, which is for the rule additionalProperties at the path ""/,
    ],
    [{ path: '', mode: 'evolve' }, /has the mode evolve, which is for the rule additionalProperties/],
  ])('cannot be %j', (rule, message) => {
    expect(issues(rule)).toEqual([expect.stringMatching(message)]);
  });

  it('is not evolve where nobody could say what becomes of a new field', () => {
    const rule = { path: '', rule: 'additionalProperties', mode: 'evolve' };
    const destination = { type: 'postgres', dataset: 'strikes', mode: 'append' };
    expect(issues(rule, { destination })).toEqual([expect.stringMatching(/set destination\.evolve to true/)]);
    const source = { connection: 'files', path: 'a.xml', format: { type: 'xml', recordPath: '/a/b' } };
    expect(issues(rule, { source })).toEqual([expect.stringMatching(/is for the formats csv, json, ndjson, parquet/)]);
    const transforms = [{ type: 'sterilise', drop: ['code'] }];
    expect(issues(rule, { transforms })).toEqual([expect.stringMatching(/new fields are not sterilised/)]);
    expect(issues(rule, { transforms, personalData: { onFound: 'refuse' } })).toEqual([]);
    const loose = validateContract({ ...contract, additionalProperties: { type: 'string' } });
    expect(issues(rule, {}, loose)).toEqual([expect.stringMatching(/has a rule for properties that it does not name/)]);
  });

  it('may be of any keyword of the contract where a choice of schemas reaches the place', () => {
    const either = validateContract({
      ...contract,
      if: { properties: { code: { const: 'MD' } } },
      then: { properties: { year: { maximum: 2000 } } },
    });
    expect(issues({ path: '/year', rule: 'maximum', mode: 'drop_value' }, {}, either)).toEqual([]);
  });
});
