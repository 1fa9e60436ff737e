/** The pages of docs/operations/ as programs: their shell blocks, run as they are written. */
import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import type { Ended } from './flux.ts';

const checkout = path.join(import.meta.dirname, '..', '..');

/** The shell blocks of a page, in order, without their indentation. */
export function shellBlocks(page: string): string[] {
  const text = readFileSync(path.join(checkout, 'docs', 'operations', page), 'utf8');
  return [...text.matchAll(/^( *)```sh\n(.*?)^ *```/gms)].map(([, indent = '', block = '']) =>
    block.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
  );
}

/** The one block of a page that says this. */
export function shellBlock(page: string, saying: string): string {
  const found = shellBlocks(page).filter((block) => block.includes(saying));
  if (found.length !== 1) throw new Error(`${String(found.length)} blocks of ${page} say "${saying}"; one must.`);
  return found[0] ?? '';
}

/** Runs a block in bash, to the first command that fails, with this checkout's `flux` as the command of that name. */
export function runShell(block: string, folder: string, env: Record<string, string>): Promise<Ended> {
  const bin = path.join(folder, 'bin');
  mkdirSync(bin, { recursive: true });
  const shim = path.join(bin, 'flux');
  writeFileSync(shim, `#!/bin/sh\nexec '${process.execPath}' '${path.join(checkout, 'src/cli/bin.mjs')}' "$@"\n`);
  chmodSync(shim, 0o755);
  const child = spawn('bash', ['-euo', 'pipefail', '-c', block], {
    cwd: folder,
    env: { PATH: `${bin}:${process.env.PATH ?? ''}`, HOME: process.env.HOME, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}
