import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { canonicalText, contractSha256 } from '../../src/contracts/canonical.ts';
import {
  type PipelineDefinition,
  validateAgencyManifest,
  validatePipelineDefinition,
  validateRunPayload,
} from '../../src/contracts/documents.ts';
import { requireOffered } from '../../src/contracts/offered.ts';
import { parseStrictJson } from '../../src/contracts/strict-json.ts';
import { isFluxError } from '../../src/errors.ts';

const smallest = {
  name: 'readings',
  title: 'Readings',
  contentType: 'text',
  useCase: 'scientific',
  source: { connection: 'files', path: 'readings.csv', format: { type: 'csv' } },
  contract: { name: 'reading', version: 1 },
  destination: { type: 'postgres', dataset: 'readings', mode: 'append' },
};

describe('defaults are written out', () => {
  it('of a pipeline', () => {
    expect(validatePipelineDefinition(smallest)).toEqual({
      ...smallest,
      classification: 'U',
      contract: { ...smallest.contract, onViolation: 'quarantine', maxRejectedRatio: 0 },
      transforms: [],
      batch: { records: 100_000 },
      schedule: null,
    });
  });

  it('of an agency and of a payload', () => {
    const manifest = {
      slug: 'nasa',
      name: 'NASA',
      abbreviation: 'NASA',
      supported_content_types: ['text'],
      supported_use_cases: ['scientific'],
    };
    expect(validateAgencyManifest(manifest)).toEqual({
      ...manifest,
      data_classification: 'U',
      retention_days: 2555,
      enabled: true,
    });
    const payload = { agency: 'nasa', content_type: 'text', use_case: 'scientific' };
    expect(validateRunPayload(payload)).toEqual({ ...payload, stage: 'full', dry_run: false, metadata: {} });
  });

  it('once: a completed document is its own completion', () => {
    const once = validatePipelineDefinition(smallest);
    expect(validatePipelineDefinition(once)).toEqual(once);
    expect(contractSha256(validatePipelineDefinition(once))).toEqual(contractSha256(once));
  });
});

describe('a document', () => {
  it('is refused above 64 kB', () => {
    const long = Array.from({ length: 40 }, (_none, at) => ({
      type: 'derive',
      column: `c${at}`,
      sql: 'x'.repeat(3_900),
    }));
    expect(() => validatePipelineDefinition({ ...smallest, transforms: long })).toThrow(
      /holds \d+ bytes; at most 65536/,
    );
  });

  it('is refused when it holds what JSON cannot say', () => {
    expect(() => validateRunPayload({ agency: 'nasa', metadata: { at: new Date(0) } })).toThrow('is not plain JSON');
    expect(() => validateRunPayload({ agency: Number.NaN })).toThrow(/canonical JSON/);
    expect(() => validateRunPayload({ agency: '\ud800' })).toThrow(/canonical JSON/);
    expect(() => validateRunPayload(undefined)).toThrow(/canonical JSON/);
  });

  it('that breaks many rules is refused for all of them, and the message shows the first five', () => {
    try {
      validatePipelineDefinition({});
      expect.unreachable();
    } catch (error) {
      expect(isFluxError(error, 'INVALID_INPUT') && error.details.issues).toHaveLength(7);
      expect((error as Error).message).toContain('and 2 more');
    }
  });
});

describe('what this version does not run', () => {
  const refusal = (change: object): string => {
    try {
      requireOffered(validatePipelineDefinition({ ...smallest, ...change }));
      return '';
    } catch (error) {
      return isFluxError(error, 'INVALID_INPUT') ? error.message : String(error);
    }
  };
  const format = (type: string, more: object): object => ({
    source: { ...smallest.source, format: { type, ...more } },
  });

  it('a schedule is refused, and so is all of it at once', () => {
    expect(refusal({ schedule: '0 3 * * *' })).toContain('/schedule asks for 0 3 * * *');
    const join = { type: 'join', dataset: 'd', on: { a: 'b' }, columns: ['c'], as: { x: 'y' } };
    expect(refusal({ schedule: '0 3 * * *', transforms: [join] })).toMatch(/names x, which is not.*asks for 0 3/);
  });

  it.each([
    ['the dataset that the pipeline writes', [{ dataset: smallest.destination.dataset }], '/transforms/0/dataset'],
    ['a name for a column that it does not add', [{ as: { other: 'c2' } }], '/transforms/0/as/other'],
    ['two columns of one name', [{ columns: ['c', 'd'], as: { d: 'c' } }], '/transforms/0/columns/1'],
    ['a column of the key', [{ columns: ['a'] }], '/transforms/0/columns/0'],
    ['a column that a join before it has added', [{}, { dataset: 'e' }], '/transforms/1/columns/0'],
    ['a column of Flux’s own', [{ columns: ['_flux_load'] }], '/transforms/0/columns/0'],
  ])('a join is refused with %s', (_what, joins, path) => {
    const transforms = joins.map((each) => ({ type: 'join', dataset: 'd', on: { a: 'b' }, columns: ['c'], ...each }));
    expect(refusal({ transforms })).toContain(path);
  });

  it('a join may add a column again that a step between has taken away', () => {
    const join = { type: 'join', dataset: 'd', on: { a: 'b' }, columns: ['c'] };
    for (const between of [
      { type: 'rename', columns: { c: 'first_c' } },
      { type: 'sterilise', drop: ['c'] },
      { type: 'aggregate', groupBy: ['a'], measures: { n: 'count(*)' } },
      { type: 'sql', sql: 'select a from records' },
    ])
      expect(refusal({ transforms: [join, between, { ...join, dataset: 'e' }] })).toBe('');
  });

  it('does not include what it does run', () => {
    const definition: PipelineDefinition = validatePipelineDefinition(smallest);
    requireOffered(definition);
    expect(refusal(format('json', { recordPath: '/features' }))).toBe('');
    expect(refusal(format('fixed', { columns: [{ name: 'a', start: 1, length: 2 }], recordLength: 2 }))).toBe('');
    expect(refusal(format('mainframe', { copybook: '01 A PIC X.' }))).toBe('');
    expect(refusal(format('xlsx', { sheet: 'Data', range: 'A1:C9' }))).toBe('');
    expect(refusal(format('xml', { recordPath: '/a/b', compression: 'gzip', encoding: 'iso-8859-1' }))).toBe('');
  });

  it('refuses a copybook that cannot be used, by line and clause', () => {
    expect(refusal(format('mainframe', { copybook: '01 A.\n 05 B PIC 9(4) COMP-1.' }))).toBe(
      'The copybook cannot be used: line 2 asks for COMP-1, which is not offered yet.',
    );
  });
});

describe('the canonical text', () => {
  it('is that of RFC 8785, section 3.2.3', () => {
    const document = JSON.parse(
      '{"numbers":[333333333.33333329,1E30,4.50,2e-3,1e-27],"string":"\\u20ac$\\u000F\\nA\'B\\"\\\\\\"/","literals":[null,true,false]}',
    ) as unknown;
    expect(canonicalText(document)).toBe(
      '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\\\"/"}',
    );
  });

  it('does not depend on the order of keys', () => {
    const json = fc.jsonValue().filter((value) => JSON.stringify(value).isWellFormed());
    fc.assert(
      fc.property(fc.dictionary(fc.string(), json), (document) => {
        const turned = Object.fromEntries(Object.entries(document).reverse());
        expect(contractSha256(turned)).toEqual(contractSha256(document));
        expect(contractSha256(JSON.parse(canonicalText(document)))).toEqual(contractSha256(document));
      }),
    );
  });

  it('has a SHA-256 of 32 bytes', () => {
    expect(contractSha256({}).toString('hex')).toBe('44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a');
  });
});

describe('strict JSON', () => {
  it('reads what JSON.parse reads', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.nat(4), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        fc.pre(!text.includes('__proto__'));
        expect(parseStrictJson(text)).toEqual(JSON.parse(text));
      }),
    );
  });

  it.each([
    ['{"a": 1, "b": {}, "a": 2}', 'stands twice'],
    ['{"a": 1,\n "\\u0061": 2}', 'again in line 2'],
    ['[{"x": [{"k": 1, "k": 1}]}]', 'stands twice'],
    ['{"__proto__": {}}', '__proto__'],
    ['{"\\u005f_proto__": {}}', '__proto__'],
    ['{', 'Expected JSON'],
    ['', 'Expected JSON'],
  ])('refuses %s', (text, why) => {
    expect(() => parseStrictJson(text)).toThrow(why);
  });

  it('knows keys from values, and one object from the next', () => {
    expect(parseStrictJson('{"a": "a", "b": ["a", "{", "\\"a\\":"], "c": {"a": "__proto__"}}')).toMatchObject({
      a: 'a',
    });
    expect(parseStrictJson('[{"a": 1}, {"a": 2}]')).toHaveLength(2);
  });
});
