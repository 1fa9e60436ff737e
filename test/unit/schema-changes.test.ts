import { readFileSync } from 'node:fs';

import { CriticalityLevel, diff, DiffRule } from '@graphql-inspector/core';
import { buildSchema, printSchema } from 'graphql';
import { describe, expect, it } from 'vitest';

const read = (name: string): string => readFileSync(new URL(`../../schema/${name}.graphql`, import.meta.url), 'utf8');

/** What a client of `before` could no longer do with `after`. A field that was deprecated there may go. */
async function breaking(before: string, after: string): Promise<string[]> {
  const changes = await diff(buildSchema(before), buildSchema(after), [DiffRule.suppressRemovalOfDeprecatedField]);
  return changes
    .filter(({ criticality }) => criticality.level === CriticalityLevel.Breaking)
    .map(({ message }) => message);
}

describe('the published schema', () => {
  it('breaks nothing that the last release offered (schema/released.graphql)', async () => {
    expect(await breaking(read('released'), read('schema'))).toEqual([]);
  });

  it.each([
    ['a removed field', (sdl: string) => sdl.replace('isTerminal: Boolean!', 'isOver: Boolean!')],
    ['a field that may be null', (sdl: string) => sdl.replace('isTerminal: Boolean!', 'isTerminal: Boolean')],
    [
      'an argument that is required',
      (sdl: string) => sdl.replace(/pipeline\(([^)]*?)version: Int\b/s, 'pipeline($1version: Int!'),
    ],
    [
      'a value of an enumeration that is gone',
      (sdl: string) => sdl.replace(/\n {2}"""[^\n]*"""\n {2}CANCELLING\b/, ''),
    ],
  ])('would be seen to break with %s', async (_name, change) => {
    const before = printSchema(buildSchema(read('schema')));
    const after = change(before);
    expect(after).not.toBe(before);
    expect(await breaking(before, after)).not.toEqual([]);
  });

  it('may lose what was deprecated a release before', async () => {
    const before = 'type Query { a: Int, b: Int @deprecated(reason: "Use a.") }';
    expect(await breaking(before, 'type Query { a: Int }')).toEqual([]);
  });
});
