/** The SDK as it is published: built, checked by those who check packages, and bundled for a browser. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';

import { checkPackage, Package } from '@arethetypeswrong/core';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { installSdk } from '../support/sdk-package.ts';

/**
 * Gzipped bytes with graphql-ws, minified. A client that only watches runs is the face itself and must not grow with the schema; everything
 * grows by some 150 bytes for each operation, of which there are 60.
 */
const budget = { everything: 20_000, watching: 9_000 };

let folder: string;
let packed: string;

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'flux-sdk-'));
  packed = installSdk(folder);
}, 60_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function bundle(name: string, source: string): Promise<{ code: string; imports: string[] }> {
  const input = path.join(folder, `${name}.js`);
  writeFileSync(input, source);
  const build = await rolldown({ input, platform: 'browser', logLevel: 'silent' });
  const { output } = await build.generate({ format: 'esm', minify: true });
  await build.close();
  return { code: output[0].code, imports: output[0].imports };
}

const gzipped = (code: string): number => gzipSync(code, { level: 9 }).length;

describe('the package', () => {
  it('has one dependency', () => {
    const { dependencies, peerDependencies } = JSON.parse(readFileSync(path.join(packed, 'package.json'), 'utf8')) as {
      dependencies: object;
      peerDependencies?: object;
    };
    expect([Object.keys(dependencies), peerDependencies]).toEqual([['graphql-ws'], undefined]);
  });

  it('is what publint expects', async () => {
    const pkg = JSON.parse(readFileSync(path.join(packed, 'package.json'), 'utf8')) as Record<string, unknown>;
    const { messages } = await publint({ pkgDir: packed, strict: true, pack: false });
    expect(messages.map((message) => formatMessage(message, pkg))).toEqual([]);
  });

  it('has types that agree with its code, as ESM in Node and in bundlers (are the types wrong?)', async () => {
    const files: Record<string, string> = {};
    for (const entry of readdirSync(packed, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const file = path.join(entry.parentPath, entry.name);
      files[`/node_modules/@flux-etl/sdk/${path.relative(packed, file)}`] = readFileSync(file, 'utf8');
    }
    const result = await checkPackage(new Package(files, '@flux-etl/sdk', '0.1.0'), {
      excludeEntrypoints: ['./schema.graphql'],
    });
    if (!result.types) throw new Error('expected types, found none');
    // The tool's own profile for packages of ESM alone: a CommonJS caller of Node before 22 has no require(esm), and this package needs
    // 22; the resolution of Node 10 knows no exports.
    const foreseen = result.problems.filter(
      (problem) =>
        !(problem.kind === 'CJSResolvesToESM') && !('resolutionKind' in problem && problem.resolutionKind === 'node10'),
    );
    expect(foreseen).toEqual([]);
  });

  it('loads in Node from its built files alone', () => {
    const code = `const { createFlux } = await import('@flux-etl/sdk'); console.log(typeof createFlux({ url: 'http://127.0.0.1:1', token: '' }).runs.watch)`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
      cwd: folder,
      encoding: 'utf8',
    });
    expect([stdout.trim(), stderr]).toEqual(['function', '']);
  });
});

describe('in a browser’s bundle', () => {
  it('imports nothing of Node and stays within its budget', async () => {
    const { code, imports } = await bundle('everything', `export * from '@flux-etl/sdk';`);
    expect(imports).toEqual([]);
    expect(code).not.toMatch(/["']node:|require\(|process\.env|Buffer\./);
    expect(gzipped(code)).toBeLessThanOrEqual(budget.everything);
  });

  it('leaves out what is not used', async () => {
    const { code } = await bundle(
      'watching',
      `import { createClient, watchRun } from '@flux-etl/sdk'; globalThis.watch = (url, token, id) => watchRun(createClient({ url, token }), id);`,
    );
    expect(code).not.toContain('registerPipeline');
    expect(code).not.toContain('verifyAuditLog');
    expect(gzipped(code)).toBeLessThanOrEqual(budget.watching);
  });
});
