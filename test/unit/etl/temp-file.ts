import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Gives `use` an open file of these bytes, and removes it. */
export function withFile<T>(bytes: Uint8Array, use: (fd: number, size: number, path: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'flux-split-'));
  const path = join(folder, 'source');
  writeFileSync(path, bytes);
  const fd = openSync(path, 'r');
  try {
    return use(fd, bytes.length, path);
  } finally {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  }
}
