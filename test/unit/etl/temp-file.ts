import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { type ByteFile, openPlainFile } from '../../../src/objects/byte-file.ts';

/** Gives `use` an open file of these bytes, and removes it. */
export function withFile<T>(bytes: Uint8Array, use: (file: ByteFile, size: number, path: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'flux-split-'));
  const path = join(folder, 'source');
  writeFileSync(path, bytes);
  const file = openPlainFile(path);
  try {
    return use(file, bytes.length, path);
  } finally {
    file.close();
    rmSync(folder, { recursive: true });
  }
}
