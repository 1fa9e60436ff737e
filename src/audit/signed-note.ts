/**
 * C2SP signed-note and tlog-checkpoint. A checkpoint's text is `origin\nsize\nroot in base64\n` and extension lines, here one:
 * `at <UTC time>`. A blank line and one signature line follow: `— <origin> <base64(key id, signature)>`, Ed25519 (signature type
 * 0x01) or ECDSA over P-256 (0x02). The key's name is the log's origin, so one key serves all logs; the origin is part of what is
 * signed, so no note of one can stand for another.
 */
import { ecdsaSigner, verifyEcdsa } from '../crypto/ecdsa.ts';
import { ed25519Signer, verifyEd25519 } from '../crypto/ed25519.ts';
import { sha256 } from '../crypto/hash.ts';

/** The head of a log at one moment. */
export interface Checkpoint {
  origin: string;
  size: number;
  root: Buffer;
  /** When the sealer signed it, ISO 8601 in UTC. */
  at: string;
}

export const signatureAlgorithms = ['ed25519', 'ecdsa-p256'] as const;
export type SignatureAlgorithm = (typeof signatureAlgorithms)[number];

/**
 * A key that is believed: 32 bytes are one of Ed25519, a SubjectPublicKeyInfo one of ECDSA. One with an end is believed for what was
 * signed before.
 */
export interface TrustedKey {
  publicKey: Buffer;
  until?: Date;
}

const ed25519 = 0x01; // the algorithm's number in signed-note
const ed25519ByteCount = 32;

/**
 * @param secret FLUX_AUDIT_KEY, 32 bytes: a private key of Ed25519 (RFC 8032) or of P-256
 * @throws CONFIG_INVALID Ed25519 in FIPS mode; no private key of P-256
 */
export function createSigner(
  secret: Buffer,
  algorithm: SignatureAlgorithm = 'ed25519',
): { publicKey: Buffer; sign(checkpoint: Checkpoint): string } {
  const key = signerOf(secret, algorithm);
  return {
    publicKey: key.publicKey,
    sign(checkpoint) {
      const text = textOf(checkpoint);
      const signature = key.sign(Buffer.from(text));
      const line = Buffer.concat([keyId(checkpoint.origin, key.publicKey), signature]).toString('base64');
      return `${text}\n— ${checkpoint.origin} ${line}\n`;
    },
  };
}

export function publicKeyOf(secret: Buffer, algorithm: SignatureAlgorithm = 'ed25519'): Buffer {
  return signerOf(secret, algorithm).publicKey;
}

function signerOf(secret: Buffer, algorithm: SignatureAlgorithm) {
  return algorithm === 'ed25519' ? ed25519Signer(secret) : ecdsaSigner(secret);
}

/** @throws CONFIG_INVALID a key of Ed25519 in FIPS mode */
function verify(publicKey: Buffer, text: Buffer, signature: Buffer): boolean {
  return publicKey.length === ed25519ByteCount
    ? verifyEd25519(publicKey, text, signature)
    : verifyEcdsa(publicKey, text, signature);
}

/** The checkpoint of a note, or why it is not to be believed. */
export function openNote(
  note: string,
  keys: readonly TrustedKey[],
): { checkpoint: Checkpoint } | { checkpoint: Checkpoint | null; problem: string } {
  const checkpoint = readNote(note);
  if (!checkpoint) return { checkpoint: null, problem: 'the checkpoint cannot be read' };
  const cut = note.indexOf('\n\n');
  const text = Buffer.from(note.slice(0, cut + 1));
  const lines = note.slice(cut + 2).split('\n');
  let expired = false;
  for (const line of lines) {
    const [, name, encoded = ''] = /^— (\S+) (\S+)$/u.exec(line) ?? [];
    if (name !== checkpoint.origin) continue;
    const bytes = Buffer.from(encoded, 'base64');
    const key = keys.find(({ publicKey }) => bytes.subarray(0, 4).equals(keyId(checkpoint.origin, publicKey)));
    if (!key || !verify(key.publicKey, text, bytes.subarray(4))) continue;
    if (!key.until || Date.parse(checkpoint.at) <= key.until.getTime()) return { checkpoint };
    expired = true;
  }
  return {
    checkpoint,
    problem: expired ? 'the checkpoint is signed by a key that had expired' : 'no trusted key signed the checkpoint',
  };
}

/** What a note says, signature aside; null when it is no checkpoint in its one spelling. */
export function readNote(note: string): Checkpoint | null {
  const cut = note.indexOf('\n\n');
  if (cut < 0) return null;
  const [origin = '', size = '', root = '', time = ''] = note.slice(0, cut).split('\n');
  const checkpoint = { origin, size: Number(size), root: Buffer.from(root, 'base64'), at: time.replace(/^at /, '') };
  return checkpoint.root.length === 32 && textOf(checkpoint) === note.slice(0, cut + 1) ? checkpoint : null;
}

function textOf({ origin, size, root, at }: Checkpoint): string {
  return `${origin}\n${String(size)}\n${root.toString('base64')}\nat ${at}\n`;
}

/** Of ECDSA keys signed-note names no key's name in it: SHA-256 of the SubjectPublicKeyInfo alone. */
function keyId(name: string, publicKey: Buffer): Buffer {
  if (publicKey.length !== ed25519ByteCount) return sha256(publicKey).subarray(0, 4);
  return sha256(`${name}\n`, Buffer.from([ed25519]), publicKey).subarray(0, 4);
}

/** What the logs of an installation are called in their notes. */
export function originOf(installation: string, agency: string | null): string {
  return agency === null ? `flux/${installation}/log-of-logs` : `flux/${installation}/agencies/${agency}`;
}
