/** ECDSA over P-256 with SHA-256 (FIPS 186-5): private keys of 32 bytes, public ones and signatures in DER. */
import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';

import { FluxError } from '../errors.ts';

/** RFC 5915 in PKCS #8: what stands before the 32 bytes. The public key is left out, and computed. */
const pkcs8Head = Buffer.from('3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420', 'hex');
/** RFC 5480: a SubjectPublicKeyInfo of P-256 with an uncompressed point begins so. */
const spkiHead = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex');
/** SP 800-186: the order of the curve's group. OpenSSL takes a private key from beyond it, and calculates with another. */
const order = Buffer.from('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 'hex');
export const ecdsaPublicKeyByteCount = 91;

/**
 * @param secret the private key, 32 bytes
 * @returns with the public key as SubjectPublicKeyInfo
 * @throws CONFIG_INVALID the bytes are no private key of P-256: all but one in 2^32 random ones are
 */
export function ecdsaSigner(secret: Buffer): { publicKey: Buffer; sign(message: Uint8Array): Buffer } {
  const key = privateKey(secret);
  return {
    publicKey: createPublicKey(key).export({ format: 'der', type: 'spki' }),
    sign: (message) => sign('sha256', message, key),
  };
}

/** Whether bytes are a public key of P-256 in its one spelling. */
export function isEcdsaPublicKey(bytes: Buffer): boolean {
  return (
    bytes.length === ecdsaPublicKeyByteCount &&
    bytes.subarray(0, spkiHead.length).equals(spkiHead) &&
    publicKeyOf(bytes) !== null
  );
}

/** @param publicKey SubjectPublicKeyInfo */
export function verifyEcdsa(publicKey: Buffer, message: Uint8Array, signature: Uint8Array): boolean {
  const key = publicKeyOf(publicKey);
  return key !== null && verify('sha256', message, key, signature);
}

function privateKey(secret: Buffer): KeyObject {
  if (secret.length === order.length && secret.some((byte) => byte !== 0) && secret.compare(order) < 0)
    return createPrivateKey({ key: Buffer.concat([pkcs8Head, secret]), format: 'der', type: 'pkcs8' });
  throw new FluxError('CONFIG_INVALID', 'The key is no private key of P-256. Make another: openssl rand -hex 32');
}

function publicKeyOf(bytes: Buffer): KeyObject | null {
  try {
    return createPublicKey({ key: bytes, format: 'der', type: 'spki' });
  } catch {
    return null;
  }
}
