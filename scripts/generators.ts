import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';

/** What is generated and checked in: each script writes its one file or folder. In the order in which they may need each other. */
export const generators = [
  { script: 'scripts/generate-contract-types.ts', output: 'src/contracts/generated.ts' },
  { script: 'scripts/print-schema.ts', output: 'schema/schema.graphql' },
  { script: 'scripts/dump-schema.ts', output: 'migrations/schema.sql' },
  { script: 'scripts/generate-errors-doc.ts', output: 'docs/errors.md' },
  { script: 'scripts/generate-contract-keywords-doc.ts', output: 'docs/contract-keywords.md' },
  { script: 'scripts/generate-cryptography-doc.ts', output: 'docs/cryptography.md' },
  { script: 'scripts/generate-sdk.ts', output: 'sdk/src/generated/' },
  { script: 'scripts/print-openapi.ts', output: 'schema/openapi.json' },
] as const;

const root = new URL('../', import.meta.url);

/** Runs every generator as a process of its own. @returns the outputs that have changed by it @throws one of them failed */
export function generate(): string[] {
  return generators
    .filter(({ script, output }) => {
      const before = contentOf(output);
      const { status, error } = spawnSync(process.execPath, [script], {
        cwd: root,
        stdio: ['ignore', 'inherit', 'inherit'],
      });
      if (error) throw error;
      if (status !== 0) throw new Error(`${script} failed (exit ${String(status)}); see its message above.`);
      return contentOf(output) !== before;
    })
    .map(({ output }) => output);
}

/** A folder's is that of its files, one after the other. */
function contentOf(output: string): string | undefined {
  const url = new URL(output, root);
  if (!existsSync(url)) return undefined;
  if (!output.endsWith('/')) return readFileSync(url, 'utf8');
  return readdirSync(url)
    .sort()
    .map((name) => `${name}\n${readFileSync(new URL(name, url), 'utf8')}`)
    .join('\n');
}
