import { link, mkdir, readFile, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK, type JWK, SignJWT } from 'jose';

import { randomHex, randomUuid } from '../crypto/random.ts';
import { FluxError } from '../errors.ts';
import type { Classification } from './principal.ts';
import type { Role } from './roles.ts';

/** `iss` of the local issuer's tokens. It names no host: nobody fetches anything from it. */
export const localIssuerName = 'urn:flux:local-issuer';

export interface LocalClaims {
  agency: string;
  role: Role;
  subject: string;
  /** U if absent. */
  clearance?: Classification;
  /** How long the token lives. */
  minutes: number;
}

export interface LocalIssuer {
  issuer: string;
  /** Its public key. */
  jwks: { keys: JWK[] };
  /** @param audience the `aud` that this machine's API asks for */
  sign(claims: LocalClaims, audience: string): Promise<string>;
}

/**
 * The issuer of a development machine: an ES256 key in FLUX_HOME/issuer, made on first use. Processes that start together agree
 * on one key. Never call it in production; createAuthenticator refuses it there.
 *
 * @param home FLUX_HOME
 * @throws CONFIG_INVALID the key cannot be written or read
 */
export async function localIssuer(home: string): Promise<LocalIssuer> {
  const file = path.join(home, 'issuer', 'key.json');
  const secret = (await readKey(file)) ?? (await makeKey(file));
  const { kty, crv, x, y } = secret as JWK & { kty: string };
  const kid = await calculateJwkThumbprint(secret);
  const publicKey = { kty, crv, x, y, kid, alg: 'ES256', use: 'sig' } as JWK;
  const key = await importJWK(secret, 'ES256');
  return {
    issuer: localIssuerName,
    jwks: { keys: [publicKey] },
    sign({ agency, role, subject, clearance = 'U', minutes }, audience) {
      return new SignJWT({ agency, role, clearance })
        .setProtectedHeader({ alg: 'ES256', kid, typ: 'JWT' })
        .setIssuer(localIssuerName)
        .setAudience(audience)
        .setSubject(subject)
        .setJti(randomUuid())
        .setIssuedAt()
        .setExpirationTime(`${String(minutes)}m`)
        .sign(key);
    },
  };
}

async function readKey(file: string): Promise<JWK | null> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as JWK;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new FluxError('CONFIG_INVALID', `${file} cannot be read. Remove it, and a new key is made.`, { cause });
  }
}

/** Whoever links first wins: link() refuses an existing name, and a reader never sees half a file. */
async function makeKey(file: string): Promise<JWK> {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true });
  const draft = `${file}.${randomHex(6)}`;
  try {
    await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
    await writeFile(draft, JSON.stringify(await exportJWK(privateKey)), { mode: 0o600, flag: 'wx' });
    await link(draft, file).catch((cause: unknown) => {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    });
  } catch (cause) {
    throw new FluxError('CONFIG_INVALID', `Cannot write ${file}. Set FLUX_HOME to a folder that this user may write.`, {
      cause,
    });
  } finally {
    await unlink(draft).catch(() => undefined);
  }
  return (await readKey(file)) as JWK;
}
