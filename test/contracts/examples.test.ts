import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

import { validateContract } from '../../src/contracts/contract.ts';
import {
  validateAgencyManifest,
  validateConnection,
  validatePipelineDefinition,
  validateRunPayload,
} from '../../src/contracts/documents.ts';
import { parseStrictJson } from '../../src/contracts/strict-json.ts';
import { FluxError, isFluxError, type Issue } from '../../src/errors.ts';
import { expectedIssues } from './expected-issues.ts';

const validators: Record<string, (document: unknown) => unknown> = {
  'agency-manifest': validateAgencyManifest,
  connection: validateConnection,
  contract: validateContract,
  pipeline: validatePipelineDefinition,
  'run-payload': validateRunPayload,
};

const folder = new URL('../../schemas/v1/examples/', import.meta.url);

/** A file is named `<schema>.<what it shows>.json`. */
function examples(kind: 'valid' | 'invalid'): { name: string; schema: string; document: unknown }[] {
  const files = new URL(`${kind}/`, folder);
  return readdirSync(files).map((name) => ({
    name,
    schema: name.split('.')[0] ?? '',
    document: parseStrictJson(readFileSync(new URL(name, files), 'utf8')),
  }));
}

function issuesOf(check: () => unknown): { code: string; issues: readonly Issue[] } {
  try {
    check();
  } catch (error) {
    if (isFluxError(error)) return { code: error.code, issues: error.details.issues ?? [] };
    throw error;
  }
  throw new FluxError('INTERNAL', 'The document was accepted.');
}

describe('every public schema has examples', () => {
  for (const schema of Object.keys(validators)) {
    it(`${schema} has valid and invalid ones`, () => {
      expect(examples('valid').some((each) => each.schema === schema)).toBe(true);
      expect(examples('invalid').some((each) => each.schema === schema)).toBe(true);
    });
  }
});

describe('a valid example', () => {
  it.each(examples('valid'))('$name is accepted, and left as it was', ({ schema, document }) => {
    const before = structuredClone(document);
    expect(validators[schema]?.(document)).toMatchObject(before as object);
    expect(document).toEqual(before);
  });
});

describe('an invalid example', () => {
  it('has its reason written down, and the other way round', () => {
    const names = examples('invalid').map(({ name }) => name.replace(/[.]json$/, ''));
    expect(names.sort()).toEqual(Object.keys(expectedIssues).sort());
  });

  it.each(examples('invalid'))('$name is refused for its one reason, at its place', ({ name, schema, document }) => {
    const { code, issues } = issuesOf(() => validators[schema]?.(document));
    expect(code).toBe(schema === 'contract' ? 'CONTRACT_INVALID' : 'INVALID_INPUT');
    expect(issues.map(({ path, rule }) => ({ path, rule }))).toEqual([expectedIssues[name.replace(/[.]json$/, '')]]);
    expect(issues[0]?.message).not.toBe('');
  });
});
