/** Writes docs/contract-keywords.md: who checks each keyword of a contract, as the compiler itself says. */
import { writeFile } from 'node:fs/promises';

import { type KeywordCoverage, keywordCoverage } from './contract-keyword-coverage.ts';

export function contractKeywordsDocument(): string {
  return [
    '<!-- Generated from the contract compiler by scripts/generate-contract-keywords-doc.ts. Run `npm run generate`. -->',
    '# Who checks a contract’s keywords',
    '',
    'A contract compiles to vectorised DuckDB SQL wherever SQL provably says what JSON Schema says; for every other keyword each',
    'record that passed SQL goes to Ajv as a whole. Records of JSON and NDJSON all go to Ajv, because their types would be lost in',
    'columns. Both ways agree: test/unit/etl/contract-suite.test.ts runs the required part of the official JSON Schema test suite',
    'and generated schemas through both. What is not named here is refused at registration (schemas/v1/contract.schema.json).',
    '',
    'One rule is Flux’s own: a column of integers keeps 64 bits, so that an integer beyond them breaks `type`, which JSON Schema',
    'would let pass. Say `number` where such values are meant.',
    '',
    '| keyword | by SQL | falls back to Ajv |',
    '|---|---|---|',
    ...keywordCoverage().map(rowOf),
    '',
  ].join('\n');
}

function rowOf({ keyword, bySql, byAjv }: KeywordCoverage): string {
  const cells = (schemas: readonly string[]): string =>
    schemas.length === 0 ? 'none' : schemas.map((schema) => `\`${schema.replaceAll('|', '\\|')}\``).join('<br>');
  return `| \`${keyword}\` | ${cells(bySql)} | ${cells(byAjv)} |`;
}

if (import.meta.main) {
  await writeFile(new URL('../docs/contract-keywords.md', import.meta.url), contractKeywordsDocument());
}
