/** What becomes of an object when the disk takes no more of it. */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

import { expect, test } from 'vitest';

const execute = promisify(execFile);
const store = new URL('../../../src/objects/file-store.ts', import.meta.url).href;

/** Stores 48 MiB in a process that may write no file of more than 40. */
const program = (folder: string, sealing: string): string => `
  const { createFileStore } = await import(${JSON.stringify(store)});
  const store = createFileStore({ folder: ${JSON.stringify(folder)}, dataKey: Buffer.alloc(32, 1) });
  async function* pieces() {
    const piece = Buffer.alloc(2 ** 20, 7);
    for (let at = 0; at < 48; at += 1) yield piece;
  }
  const unhandled = [];
  process.on('unhandledRejection', (cause) => unhandled.push(String(cause)));
  const code = await store.put('nasa', pieces(), ${sealing}).then(() => 'stored', (cause) => cause.code);
  await new Promise(setImmediate);
  console.log(JSON.stringify({ code, unhandled }));
`;

test.each([
  ['plain', 'null'],
  ['sealed', '{ version: 3, key: Buffer.alloc(32, 2) }'],
])('an object that does not fit, %s, fails with the system’s word and leaves nothing', async (_how, sealing) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'flux-new-file-'));
  try {
    const { stdout } = await execute('sh', [
      '-c',
      // In blocks of 512 bytes.
      `ulimit -f ${String((40 * 2 ** 20) / 512)}; exec "$0" --input-type=module -e "$1"`,
      process.execPath,
      program(folder, sealing),
    ]);
    expect(JSON.parse(stdout)).toEqual({ code: 'EFBIG', unhandled: [] });
    expect(await readdir(folder, { recursive: true })).toEqual(['partial']);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
