/** Writes docs/cryptography.md: the inventory of src/crypto, with the files that use each entry read from their imports. */
import { globSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';

import { elsewhere, inventory, type InventoryEntry } from '../src/crypto/inventory.ts';

const root = path.resolve(import.meta.dirname, '..');
const fipsWords = { approved: 'approved', refused: 'refused in FIPS mode', none: 'no security function' } as const;

/** @throws an export of src/crypto is in no entry, or an entry names none */
export function cryptographyDocument(): string {
  requireComplete();
  const uses = usesOfExports();
  return [
    '<!-- Generated from src/crypto/inventory.ts and the imports of the sources by scripts/generate-cryptography-doc.ts. -->',
    '# Cryptography',
    '',
    'Every use of cryptography in Flux goes through `src/crypto`, the only importer of `node:crypto` (held by',
    'dependency-cruiser and ESLint). `FLUX_FIPS=1` refuses to start unless OpenSSL’s FIPS provider is active, and then offers',
    'only what is marked approved.',
    '',
    '| algorithm | standard | bits | FIPS | for | exports |',
    '|---|---|---|---|---|---|',
    ...inventory.map(
      ({ algorithm, standard, bits, fips, purposes, exports }) =>
        `| ${algorithm} | ${standard} | ${bits} | ${fipsWords[fips]} | ${purposes.join('; ')} | ${exports.map((name) => `\`${name}\``).join(', ')} |`,
    ),
    '',
    '## Done by others for us',
    '',
    '| by | what | bits | for |',
    '|---|---|---|---|',
    ...elsewhere.map(({ by, what, bits, purpose }) => `| ${by} | ${what} | ${bits} | ${purpose} |`),
    '',
    '## What encryption at rest costs',
    '',
    'Medians of four turns, off and on one after the other in one run of `node bench/encryption.ts` (two cores, shared with other work, so',
    'processor time says more than rates):',
    '',
    '| | off | on |',
    '|---|---|---|',
    '| the 3,000,000-row flights run through the whole product, records/s | 191,552 | 209,340 |',
    '| the same, CPU seconds of all processes with start and stop | 33 | 32 |',
    '| storing an object, MiB a CPU second | 898 | 422 |',
    '| reading it back, MiB a CPU second | 1,031 | 1,082 |',
    '| sealing a refused record of 200 bytes, µs of CPU | 0.4 (as JSON) | 9.8 |',
    '',
    'Of a whole run nothing is to be seen beside the machine’s drift. A record’s key is derived once for the records of its source and made',
    'ready for the cipher once; a derivation each would cost 28.5 µs, and until the key was made ready a record cost some 15 µs more.',
    '',
    '## Where each is used',
    ...inventory.flatMap((entry) => ['', `### ${entry.algorithm}`, '', ...filesOf(entry, uses)]),
    '',
  ].join('\n');
}

function filesOf(entry: InventoryEntry, uses: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const files = new Set(entry.exports.flatMap((name) => [...(uses.get(name) ?? [])]));
  return files.size === 0 ? ['Nowhere.'] : [...files].sort().map((file) => `- \`${file}\``);
}

/** Export of src/crypto to the files of ours that import it as a value. */
function usesOfExports(): Map<string, Set<string>> {
  const uses = new Map<string, Set<string>>();
  for (const file of globSync(['src/**/*.ts', 'resolvers/**/*.ts', 'schema/**/*.ts'], { cwd: root })) {
    const text = readFileSync(path.join(root, file), 'utf8');
    for (const [, names = ''] of text.matchAll(/import \{([^}]*)\} from '(?:[./]+\/crypto|\.)\/[\w-]+\.ts'/g)) {
      if (!file.startsWith('src/crypto/') && !/\/crypto\//.test(text)) continue;
      for (const name of names.split(',').map((one) => one.trim())) {
        if (name === '' || name.startsWith('type ')) continue;
        uses.set(name, (uses.get(name) ?? new Set()).add(file.replaceAll('\\', '/')));
      }
    }
  }
  return uses;
}

function requireComplete(): void {
  const listed = inventory.flatMap(({ exports }) => exports);
  const found = globSync('src/crypto/*.ts', { cwd: root })
    .filter((file) => !file.endsWith('inventory.ts'))
    .flatMap((file) =>
      [...readFileSync(path.join(root, file), 'utf8').matchAll(/^export (?:async )?(?:function\*?|const) (\w+)/gm)].map(
        ([, name = '']) => name,
      ),
    );
  const missing = found.filter((name) => !listed.includes(name));
  const gone = listed.filter((name) => !found.includes(name));
  if (missing.length > 0) throw new Error(`src/crypto/inventory.ts does not list: ${missing.join(', ')}.`);
  if (gone.length > 0)
    throw new Error(`src/crypto/inventory.ts lists what src/crypto does not export: ${gone.join(', ')}.`);
}

if (import.meta.main) await writeFile(path.join(root, 'docs/cryptography.md'), cryptographyDocument());
