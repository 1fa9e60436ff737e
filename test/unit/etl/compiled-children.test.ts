import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { contractOf, definitionOf, type EtlBench, etlBench } from '../../support/etl.ts';

let bench: EtlBench;
let codeFolder: string;
beforeEach(async () => {
  codeFolder = await mkdtemp(join(tmpdir(), 'flux code-'));
  bench = await etlBench({ codeFolder });
  await bench.put('a.csv', 'id\n1\n2\n');
});
afterEach(() => Promise.all([bench.remove(), rm(codeFolder, { recursive: true, force: true })]));

/** Each file in the folder, and when it was written. */
async function compiled(): Promise<Map<string, number>> {
  const entries = await readdir(codeFolder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return new Map(await Promise.all(files.map(async (file) => [file, (await stat(file)).mtimeMs] as const)));
}

test('what a child compiles of our sources is there for the next, although each is killed when it has done its work', async () => {
  const definition = definitionOf('a.csv', { type: 'csv' });
  const plan = async (): Promise<void> => {
    const object = await bench.pin(definition);
    const { ranges } = await bench.engine.planSource({
      runId: 'one',
      definition,
      contract: contractOf({ id: { type: 'integer' } }),
      object,
      workFolder: bench.workFolder,
      signal: new AbortController().signal,
    });
    expect(ranges).toHaveLength(1);
  };
  await plan();
  const first = await compiled();
  expect(first.size).toBeGreaterThan(50);
  await plan();
  // Nothing was compiled again.
  expect(await compiled()).toEqual(first);
});
