import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterEach, beforeEach, expect, test } from 'vitest';

import { ownWorkFolder } from '../../src/own-work-folder.ts';

let root: string;
beforeEach(async () => {
  root = path.join(await mkdtemp(path.join(tmpdir(), 'flux work ')), 'work');
});
afterEach(() => rm(path.dirname(root), { recursive: true, force: true }));

/** Another process with a folder of its own, and plaintext in it. */
async function other(): Promise<{ folder: string; kill(): Promise<void> }> {
  const module = new URL('../../src/own-work-folder.ts', import.meta.url).href;
  const script = `
    const { ownWorkFolder } = await import(${JSON.stringify(module)});
    const { folder } = await ownWorkFolder(${JSON.stringify(root)});
    console.log(folder);
    setInterval(() => {}, 1e6);
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => child.once('close', resolve));
  const folder = await new Promise<string>((resolve, reject) => {
    child.stdout.once('data', (data: Buffer) => resolve(data.toString().trim()));
    child.once('close', () => reject(new Error('it ended before it had a folder')));
  });
  await mkdir(path.join(folder, 'run'));
  await writeFile(path.join(folder, 'run', 'plain.parquet'), 'plaintext');
  return {
    folder,
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

test('what a killed process left is gone when the next one starts, and a live one’s folder stays', async () => {
  const killed = await other();
  const alive = await other();
  try {
    await killed.kill();
    const own = await ownWorkFolder(root);
    const left = (await readdir(root)).filter((name) => !name.endsWith('.lock')).sort();
    expect(left).toEqual([path.basename(alive.folder), path.basename(own.folder)].sort());
    expect(await readdir(path.join(alive.folder, 'run'))).toEqual(['plain.parquet']);
    expect((await stat(own.folder)).mode & 0o777).toBe(0o700);

    await own.remove();
    expect((await readdir(root)).filter((name) => name.startsWith(path.basename(own.folder)))).toEqual([]);
  } finally {
    await alive.kill();
  }
});

test('folders of an older layout, which belong to no process, go', async () => {
  await mkdir(path.join(root, '01a21380-0000-7000-8000-000000000000', '1-1'), { recursive: true });
  const own = await ownWorkFolder(root);
  expect((await readdir(root)).filter((name) => !name.startsWith(path.basename(own.folder)))).toEqual([]);
});
