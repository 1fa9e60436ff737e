/** Ed25519 (RFC 8032) over raw keys of 32 bytes; the signature has 64. */
import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';

import { refuseUnapproved } from './fips.ts';

const pkcs8Head = Buffer.from('302e020100300506032b657004220420', 'hex'); // RFC 8410: what stands before the 32 bytes
const spkiHead = Buffer.from('302a300506032b6570032100', 'hex');

/**
 * @param seed the private key, 32 bytes
 * @throws CONFIG_INVALID in FIPS mode
 */
export function ed25519Signer(seed: Buffer): { publicKey: Buffer; sign(message: Uint8Array): Buffer } {
  refuseUnapproved('Ed25519', 'Sign with ECDSA P-256.');
  const key = createPrivateKey({ key: Buffer.concat([pkcs8Head, seed]), format: 'der', type: 'pkcs8' });
  return {
    publicKey: createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(spkiHead.length),
    sign: (message) => sign(null, message, key),
  };
}

/** @throws CONFIG_INVALID in FIPS mode */
export function verifyEd25519(publicKey: Buffer, message: Uint8Array, signature: Uint8Array): boolean {
  refuseUnapproved('Ed25519', 'Verify it outside FIPS mode.');
  const key = createPublicKey({ key: Buffer.concat([spkiHead, publicKey]), format: 'der', type: 'spki' });
  return verify(null, message, key, signature);
}
