import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterEach, beforeEach, expect, test } from 'vitest';

import { acquireProcessLock, lockHolder } from '../../src/process-lock.ts';

let file: string;
beforeEach(async () => {
  file = path.join(await mkdtemp(path.join(tmpdir(), 'flux-lock-')), 'lock');
});
afterEach(() => rm(path.dirname(file), { recursive: true, force: true }));

const script = `
  const { acquireProcessLock } = await import(${JSON.stringify(new URL('../../src/process-lock.ts', import.meta.url).href)});
  const lock = await acquireProcessLock(process.argv[1]);
  process.stdout.write('release' in lock ? 'held' : 'refused');
  setInterval(() => {}, 1e6);
`;

async function holder(): Promise<{ pid: number; said: string; kill(): Promise<void> }> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [said] = (await once(child.stdout, 'data')) as [Buffer];
  return {
    pid: child.pid ?? 0,
    said: said.toString(),
    async kill() {
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

test('names the living process that holds it', async () => {
  const other = await holder();
  try {
    expect(await acquireProcessLock(file)).toEqual({ heldBy: other.pid });
    expect(await lockHolder(file)).toBe(other.pid);
  } finally {
    await other.kill();
  }
});

test('is free after its holder was killed', async () => {
  const other = await holder();
  await other.kill();
  expect(await lockHolder(file)).toBeUndefined();
  const lock = await acquireProcessLock(file);
  expect(lock).toHaveProperty('release');
  if ('release' in lock) await lock.release();
  await expect(readFile(file)).rejects.toThrow();
});

test('is free when its holder’s number now belongs to another process', async () => {
  await writeFile(file, JSON.stringify({ pid: process.pid, startedAt: '1' }));
  expect(await acquireProcessLock(file)).toHaveProperty('release');
});

test('is free when its file is damaged', async () => {
  await writeFile(file, '{"pid":');
  expect(await acquireProcessLock(file)).toHaveProperty('release');
});

test('goes to exactly one of several that find a dead holder at once', async () => {
  await writeFile(file, JSON.stringify({ pid: 2 ** 22 + 1, startedAt: '1' }));
  const all = await Promise.all([holder(), holder(), holder(), holder()]);
  try {
    expect(all.filter(({ said }) => said === 'held')).toHaveLength(1);
  } finally {
    await Promise.all(all.map((one) => one.kill()));
  }
});
