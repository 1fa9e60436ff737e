import { pbkdf2 } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';

import { afterEach, beforeEach, expect, test } from 'vitest';

import { intoNewFile } from '../../../src/etl/into-new-file.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flux new-file-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const refused = async function* (pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const piece of pieces) yield piece;
  throw new Error('refused');
};

/** Work in front of whatever else is asked of the file system: each of Node's four threads has several pieces of it to do first. */
function occupyThreads(): Promise<unknown> {
  const piece = () => promisify(pbkdf2)('password', 'salt', 60_000, 64, 'sha512');
  return Promise.all(Array.from({ length: 12 }, piece));
}

test('a refusal is told when the file is there and closed, so that its folder can be removed', async () => {
  const path = join(folder, 'content');
  const busy = occupyThreads();
  const write = intoNewFile(path, (file) => pipeline(Readable.from([Buffer.from('a')]), refused, file));
  await expect(write).rejects.toThrow('refused');
  expect(existsSync(path)).toBe(true);
  rmSync(folder, { recursive: true });
  await busy;
  expect(existsSync(folder)).toBe(false);
});

test('what is written whole is there, for this user only; where something stands already nothing is written', async () => {
  const path = join(folder, 'content');
  const write = (text: string) => intoNewFile(path, (file) => pipeline(Readable.from([Buffer.from(text)]), file));
  await write('first');
  await expect(write('second')).rejects.toMatchObject({ code: 'EEXIST' });
  expect(readFileSync(path, 'utf8')).toBe('first');
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test('a writer that never begins leaves nothing to wait for', async () => {
  const path = join(folder, 'content');
  await expect(intoNewFile(path, () => Promise.reject(new Error('no source')))).rejects.toThrow('no source');
});
