import { readFile } from 'node:fs/promises';

import { parseStrictJson } from '../contracts/strict-json.ts';
import { FluxError } from '../errors.ts';

/** A JSON document from a file, or from standard input for `-`. @throws INVALID_INPUT it cannot be read or is not JSON */
export async function readDocument(file: string): Promise<unknown> {
  let text: string;
  try {
    text = file === '-' ? await readStandardInput() : await readFile(file, 'utf8');
  } catch (cause) {
    throw new FluxError(
      'INVALID_INPUT',
      `Cannot read ${file} (${(cause as NodeJS.ErrnoException).code ?? String(cause)}).`,
      { cause },
    );
  }
  return parseStrictJson(text);
}

async function readStandardInput(): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of process.stdin) parts.push(part as Buffer);
  return Buffer.concat(parts).toString('utf8');
}
