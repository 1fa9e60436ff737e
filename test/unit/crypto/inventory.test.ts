/** The inventory cannot go stale: what it lists is what the sources import, and nobody else reaches node:crypto. */
import { readFileSync } from 'node:fs';

import { expect, test } from 'vitest';

import { cryptographyDocument } from '../../../scripts/generate-cryptography-doc.ts';
import { importsOf, sourceFiles } from '../../support/source-files.ts';

const product = sourceFiles('src', 'schema', 'resolvers');

test('docs/cryptography.md is what the inventory and the imports of the sources give', () => {
  expect(readFileSync('docs/cryptography.md', 'utf8')).toBe(cryptographyDocument());
});

test('only src/crypto imports node:crypto, and only src/auth imports jose', () => {
  const importers = (what: RegExp): string[] =>
    product.filter((file) => [...importsOf(file).values()].some((from) => what.test(from))).map(({ path }) => path);
  expect(importers(/^(node:)?crypto$/).filter((path) => !path.startsWith('src/crypto/'))).toEqual([]);
  expect(importers(/^(node:)?crypto$/).length).toBeGreaterThan(3);
  expect(importers(/^jose$/).filter((path) => !path.startsWith('src/auth/'))).toEqual([]);
});
