import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync } from 'node:fs';
import path from 'node:path';

const checkout = path.join(import.meta.dirname, '..', '..');

/**
 * Builds the SDK as `npm pack` would and lays it out as `npm install` would, with its dependency beside it and no sources of this checkout
 * in reach. @returns the package's folder, `<folder>/node_modules/@flux-etl/sdk`
 */
export function installSdk(folder: string): string {
  const packed = path.join(folder, 'node_modules', '@flux-etl', 'sdk');
  mkdirSync(packed, { recursive: true });
  const { status, stdout } = spawnSync(
    process.execPath,
    [path.join(checkout, 'node_modules/typescript/bin/tsc'), '-p', 'sdk', '--outDir', path.join(packed, 'dist')],
    { cwd: checkout, encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(`The SDK does not build:\n${stdout}`);
  for (const name of ['package.json', 'README.md', 'generated']) {
    cpSync(path.join(checkout, 'sdk', name), path.join(packed, name), { recursive: true });
  }
  cpSync(path.join(checkout, 'schema/schema.graphql'), path.join(packed, 'dist/schema.graphql'));
  for (const name of ['graphql-ws', 'graphql']) {
    cpSync(path.join(checkout, 'node_modules', name), path.join(folder, 'node_modules', name), { recursive: true });
  }
  return packed;
}
