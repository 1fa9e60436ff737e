/**
 * A small key management service as a process of its own, for tests: keeps its keys in a file, and never gives one out. Its
 * settings come by IPC: `{ cert, key, file, token, port }` to start, then `{ mode }` at any time.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';

/** `slow` never answers; `revoked` has the key no more; `rubbish` wraps what nobody can unwrap; `broken` answers 500. */
export type KmsMode = 'well' | 'slow' | 'revoked' | 'rubbish' | 'broken' | 'endless';

export interface KmsStart {
  cert: string;
  key: string;
  /** Of its keys. */
  file: string;
  token: string;
  port: number;
}

interface Asked {
  key: string;
  context: Record<string, string>;
  plaintext?: string;
  ciphertext?: string;
}

let mode: KmsMode = 'well';
const nonceBytes = 12;
const tagBytes = 16;

function start({ cert, key, file, token, port }: KmsStart): void {
  const server = createServer({ cert, key }, (request, response) => {
    const answer = (status: number, body: object = {}): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    };
    let text = '';
    request.on('data', (piece: Buffer) => (text += piece.toString()));
    request.on('end', () => {
      if (mode === 'slow') return;
      if (mode === 'broken') return answer(500);
      if (mode === 'endless') return answer(200, { plaintext: 'x'.repeat(1 << 20) });
      if (request.headers.authorization !== `Bearer ${token}`) return answer(401);
      const asked = JSON.parse(text) as Asked;
      const context = Buffer.from(JSON.stringify(asked.context));
      if (request.url?.endsWith('/wrap')) {
        if (mode === 'revoked') return answer(410);
        const wrapped = mode === 'rubbish' ? randomBytes(60) : seal(keyOf(file, asked.key, true), asked, context);
        return answer(200, { ciphertext: wrapped.toString('base64') });
      }
      const opened = mode === 'revoked' ? null : open(keyOf(file, asked.key, false), asked, context);
      return opened ? answer(200, { plaintext: opened.toString('base64') }) : answer(mode === 'revoked' ? 410 : 422);
    });
  });
  server.listen(port, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }));
}

function keyOf(file: string, name: string, create: boolean): Buffer | null {
  const keys = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>) : {};
  if (keys[name] === undefined && !create) return null;
  keys[name] ??= randomBytes(32).toString('hex');
  writeFileSync(file, JSON.stringify(keys));
  return Buffer.from(keys[name], 'hex');
}

function seal(key: Buffer | null, { plaintext = '' }: Asked, context: Buffer): Buffer {
  const nonce = randomBytes(nonceBytes);
  const sealing = createCipheriv('aes-256-gcm', key as Buffer, nonce).setAAD(context);
  const sealed = Buffer.concat([sealing.update(Buffer.from(plaintext, 'base64')), sealing.final()]);
  return Buffer.concat([nonce, sealed, sealing.getAuthTag()]);
}

function open(key: Buffer | null, { ciphertext = '' }: Asked, context: Buffer): Buffer | null {
  const box = Buffer.from(ciphertext, 'base64');
  if (!key || box.length < nonceBytes + tagBytes) return null;
  const opening = createDecipheriv('aes-256-gcm', key, box.subarray(0, nonceBytes), { authTagLength: tagBytes });
  opening.setAAD(context).setAuthTag(box.subarray(box.length - tagBytes));
  try {
    return Buffer.concat([opening.update(box.subarray(nonceBytes, box.length - tagBytes)), opening.final()]);
  } catch {
    return null;
  }
}

process.on('message', (message: KmsStart | { mode: KmsMode }) => {
  if ('cert' in message) return start(message);
  mode = message.mode;
  process.send?.({ mode });
});
process.on('disconnect', () => process.exit());
