import { chmodSync, existsSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { isEcdsaPublicKey } from './crypto/ecdsa.ts';
import { randomHex } from './crypto/random.ts';
import { FluxError } from './errors.ts';

/** 32 bytes from 64 hex characters or padded or unpadded base64; undefined when the text is neither. */
export function parseKey(text: string): Buffer | undefined {
  const trimmed = text.trim();
  if (/^[0-9a-fA-F]{64}$/.test(trimmed)) return Buffer.from(trimmed, 'hex');
  if (/^[A-Za-z0-9+/_-]{43}=?$/.test(trimmed)) return Buffer.from(trimmed, 'base64');
  return undefined;
}

/** A public key of the audit log: of Ed25519 as `parseKey` reads it, or of P-256 as SubjectPublicKeyInfo, in hex or base64. */
export function parsePublicKey(text: string): Buffer | undefined {
  const trimmed = text.trim();
  const bytes = /^(?:[0-9a-f]{2})+$/i.test(trimmed) ? Buffer.from(trimmed, 'hex') : Buffer.from(trimmed, 'base64');
  return parseKey(trimmed) ?? (isEcdsaPublicKey(bytes) ? bytes : undefined);
}

/**
 * A key that development keeps in a file of its own, made the first time. Processes that start together get the same one.
 *
 * @throws CONFIG_INVALID the file cannot be written or read
 */
export function developmentKey(home: string, file: string): Buffer {
  try {
    if (!existsSync(file)) create(home, file);
    const bytes = parseKey(readFileSync(file, 'utf8'));
    if (bytes) return bytes;
  } catch (cause) {
    throw new FluxError(
      'CONFIG_INVALID',
      `Cannot keep the development key ${file} (${(cause as NodeJS.ErrnoException).code ?? String(cause)}). Set FLUX_HOME to a folder of your own.`,
      { cause },
    );
  }
  throw new FluxError(
    'CONFIG_INVALID',
    `${file} should hold 32 bytes in hex. Restore it: what it sealed is lost with it.`,
  );
}

function create(home: string, file: string): void {
  if (!existsSync(home)) {
    mkdirSync(home, { recursive: true });
    // Others may pass through FLUX_HOME (src/home.ts says why); the keys' own folder is closed.
    chmodSync(home, 0o711);
  }
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  const draft = `${file}.${randomHex(6)}`;
  writeFileSync(draft, `${randomHex(32)}\n`, { flag: 'wx', mode: 0o600 });
  try {
    // A link appears whole, and fails when another process was quicker: then theirs counts.
    linkSync(draft, file);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
  } finally {
    rmSync(draft, { force: true });
  }
}
