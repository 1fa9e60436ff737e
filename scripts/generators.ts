import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

/** What is generated and checked in: each script writes its one file. In the order in which they may need each other. */
export const generators = [
  { script: 'scripts/generate-contract-types.ts', output: 'src/contracts/generated.ts' },
  { script: 'scripts/print-schema.ts', output: 'schema/schema.graphql' },
  { script: 'scripts/dump-schema.ts', output: 'migrations/schema.sql' },
  { script: 'scripts/generate-errors-doc.ts', output: 'docs/errors.md' },
  { script: 'scripts/generate-cryptography-doc.ts', output: 'docs/cryptography.md' },
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

function contentOf(file: string): string | undefined {
  const url = new URL(file, root);
  return existsSync(url) ? readFileSync(url, 'utf8') : undefined;
}
