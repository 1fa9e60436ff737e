import type { Contract } from '../src/contracts/contract.ts';
import { csvColumns, parquetColumns } from '../src/etl/ingest/columns.ts';
import { cell } from '../src/etl/ingest/lexical.ts';
import { modelContract } from '../src/etl/ingest/contract-model.ts';

/** Who checks a keyword in a delimited or typed file. Records of JSON go to Ajv as a whole. */
export interface KeywordCoverage {
  keyword: string;
  /** The schemas of one property that SQL checks by itself. */
  bySql: string[];
  /** Those for which each record that passed SQL goes to Ajv. */
  byAjv: string[];
}

/** One property's schema for each thing that a keyword may say, each with the columns that it can meet. */
const probes: Readonly<Record<string, readonly object[]>> = {
  type: [
    { type: 'integer' },
    { type: 'number' },
    { type: 'string' },
    { type: 'boolean' },
    { type: ['string', 'null'] },
    { type: ['string', 'number'] },
    { type: 'array' },
    { type: 'object' },
  ],
  enum: [
    { type: 'string', enum: ['a', 'b'] },
    { type: 'integer', enum: [1, 2] },
    { type: ['string', 'integer'], enum: ['a', 1] },
  ],
  const: [
    { type: 'string', const: 'a' },
    { type: 'number', const: 0.5 },
    { type: 'integer', const: 0.5 },
  ],
  minimum: [
    { type: 'integer', minimum: 1 },
    { type: 'number', minimum: 0.5 },
  ],
  maximum: [
    { type: 'integer', maximum: 1 },
    { type: 'number', maximum: 0.5 },
  ],
  exclusiveMinimum: [
    { type: 'integer', exclusiveMinimum: 1 },
    { type: 'number', exclusiveMinimum: 0.5 },
  ],
  exclusiveMaximum: [
    { type: 'integer', exclusiveMaximum: 1 },
    { type: 'number', exclusiveMaximum: 0.5 },
  ],
  multipleOf: [
    { type: 'integer', multipleOf: 5 },
    { type: 'number', multipleOf: 0.5 },
  ],
  minLength: [{ type: 'string', minLength: 1 }],
  maxLength: [{ type: 'string', maxLength: 1 }],
  pattern: [
    { type: 'string', pattern: '^[A-Z]{2}[0-9]+$' },
    { type: 'string', pattern: '\\s' },
    { type: 'string', pattern: '\\bword' },
  ],
  format: [
    ...['date', 'date-time', 'local-date-time', 'time', 'duration', 'email', 'hostname', 'ipv4', 'ipv6'],
    ...['uri', 'uri-reference', 'uuid', 'json-pointer'],
  ].map((format) => ({ type: 'string', format })),
  $ref: [{ $ref: '#/$defs/code' }],
  properties: [{ type: 'object', properties: { inner: { type: 'string' } } }],
  ...Object.fromEntries(
    [
      ['allOf', [{ minLength: 1 }]],
      ['anyOf', [{ minLength: 1 }]],
      ['oneOf', [{ minLength: 1 }]],
      ['not', { const: 'a' }],
      ['if', { const: 'a' }],
    ].map(([keyword, value]) => [keyword as string, [{ type: 'string', [keyword as string]: value }]]),
  ),
  ...Object.fromEntries(
    ['items', 'contains', 'prefixItems', 'minItems', 'maxItems', 'uniqueItems'].map((keyword) => [
      keyword,
      [{ type: 'array', [keyword]: arrayValue(keyword) }],
    ]),
  ),
  ...Object.fromEntries(
    [
      'patternProperties',
      'propertyNames',
      'dependentRequired',
      'dependentSchemas',
      'minProperties',
      'maxProperties',
    ].map((keyword) => [keyword, [{ type: 'object', [keyword]: /^m/.test(keyword) ? 1 : {} }]]),
  ),
};

function arrayValue(keyword: string): unknown {
  if (keyword === 'uniqueItems') return true;
  if (keyword.startsWith('m')) return 1;
  return keyword === 'prefixItems' ? [{ type: 'string' }] : { type: 'string' };
}

/** Asks the compiler about each keyword, by name. What docs/contract-keywords.md shows. */
export function keywordCoverage(): KeywordCoverage[] {
  return Object.entries(probes).map(([keyword, schemas]) => {
    const bySql = schemas.filter((schema) => fallbacksOf(schema).length === 0);
    return {
      keyword,
      bySql: bySql.map((schema) => JSON.stringify(schema)),
      byAjv: schemas.filter((schema) => !bySql.includes(schema)).map((schema) => JSON.stringify(schema)),
    };
  });
}

/** The keywords that Ajv checks of a record that has just this property. */
function fallbacksOf(schema: object): readonly unknown[] {
  const contract = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Probe',
    type: 'object',
    properties: { value: schema },
    $defs: { code: { type: 'string', pattern: '^[A-Z]+$' } },
  } as unknown as Contract;
  const model = modelContract(contract);
  const holdsText = !['array', 'object'].includes(String((schema as { type?: unknown }).type));
  const { fallbacks = [] } = holdsText ? csvColumns(model, () => cell(0)) : parquetColumns(model, [nested]);
  return fallbacks;
}

const nested = { name: 'value', type: 'STRUCT(inner VARCHAR)' };
