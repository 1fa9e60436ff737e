import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { RowWriter } from '../../../src/etl/ingest/row-writer.ts';

const folder = mkdtempSync(join(tmpdir(), 'flux-rows-'));
afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** @returns what stands in the file then */
function write(rows: readonly string[]): string {
  const path = join(folder, 'chunk.csv');
  const writer = new RowWriter(path);
  for (const [at, text] of rows.entries()) {
    const bytes = Buffer.from(text);
    writer.begin(at + 1, bytes.length * 2 + 3);
    writer.separate();
    writer.addText(bytes, 0, bytes.length);
    if (text === '') writer.takeBack();
    else writer.end();
  }
  writer.close();
  return readFileSync(path, 'utf8');
}

test('nothing is left of the batch that stood in the file before', () => {
  const long = 'x'.repeat(700_000);
  expect(write([long, long, 'a'])).toBe(`1,"${long}"\n2,"${long}"\n3,"a"\n`);
  expect(write(['a "b"', '', 'c'])).toBe('1,"a ""b"""\n3,"c"\n');
  expect(write([long])).toBe(`1,"${long}"\n`);
  expect(write([])).toBe('');
});
