import { randomUUID } from 'node:crypto';

import { exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';

/** An issuer whose key the test holds. */
export interface TestIssuer {
  issuer: string;
  jwks: { keys: JWK[] };
  /** Signs exactly these claims over the defaults; `undefined` leaves a claim out. Times are seconds since 1970. */
  sign(claims?: Record<string, unknown>, header?: Record<string, unknown>): Promise<string>;
}

export const testAudience = 'flux-test';

export async function createTestIssuer(issuer: string, alg = 'ES256'): Promise<TestIssuer> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  const kid = randomUUID();
  return {
    issuer,
    jwks: { keys: [{ ...(await exportJWK(publicKey)), kid, alg, use: 'sig' }] },
    sign(claims = {}, header = {}) {
      const now = Math.floor(Date.now() / 1000);
      const all = {
        iss: issuer,
        aud: testAudience,
        sub: 'ada@example.gov',
        jti: randomUUID(),
        iat: now,
        exp: now + 600,
        agency: 'nasa',
        role: 'operator',
        ...claims,
      };
      return new SignJWT(JSON.parse(JSON.stringify(all)) as Record<string, unknown>)
        .setProtectedHeader({ alg, kid, ...header })
        .sign(privateKey);
    },
  };
}
