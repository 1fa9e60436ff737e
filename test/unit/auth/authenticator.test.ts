import { createHmac, randomUUID } from 'node:crypto';

import { base64url, exportJWK, generateKeyPair, SignJWT } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';

import { type Authenticator, bearerToken, createAuthenticator } from '../../../src/auth/authenticator.ts';
import { isFluxError } from '../../../src/errors.ts';
import { createTestIssuer, testAudience, type TestIssuer } from '../../support/tokens.ts';

const issuerName = 'https://login.nasa.example.gov';
let issuer: TestIssuer;
let reasons: string[] = [];
let authenticator: Authenticator;

function createWith(options: Partial<Parameters<typeof createAuthenticator>[0]> = {}): Authenticator {
  return createAuthenticator({
    environment: 'production',
    issuers: [{ issuer: issuerName, jwks: issuer.jwks, agencies: ['nasa', 'noaa'] }],
    audience: testAudience,
    onRefused: (reason) => reasons.push(reason),
    ...options,
  });
}

/** Resolves to why the token was refused; fails the test if it was not. */
async function refusal(token: string, by = authenticator): Promise<string> {
  reasons = [];
  const error: unknown = await by.authenticate(token).then(
    (principal) => expect.unreachable(`accepted as ${principal.agency}`),
    (cause: unknown) => cause,
  );
  expect(isFluxError(error, 'UNAUTHENTICATED')).toBe(true);
  return reasons[0] ?? '';
}

const part = (value: unknown): string => base64url.encode(JSON.stringify(value));
const seconds = (): number => Math.floor(Date.now() / 1000);

beforeAll(async () => {
  issuer = await createTestIssuer(issuerName);
  authenticator = createWith();
});

describe('a good token', () => {
  it('becomes a frozen principal whose scopes follow from the role', async () => {
    const principal = await authenticator.authenticate(await issuer.sign({ role: 'analyzer', clearance: 'S' }));
    expect(principal).toMatchObject({
      subject: 'ada@example.gov',
      agency: 'nasa',
      role: 'analyzer',
      clearance: 3,
      issuer: issuerName,
    });
    expect([...principal.scopes]).toEqual(['run:read', 'pipeline:read', 'agency:read', 'data:read', 'audit:read']);
    expect(Object.isFrozen(principal)).toBe(true);
  });

  it.each(['PS256', 'RS256', 'EdDSA'])('may be signed with %s', async (alg) => {
    const other = await createTestIssuer(issuerName, alg);
    const by = createWith({ issuers: [{ issuer: issuerName, jwks: other.jwks, agencies: ['nasa'] }] });
    await expect(by.authenticate(await other.sign())).resolves.toMatchObject({ agency: 'nasa', clearance: 0 });
  });

  it('of the local issuer may name any agency and live longer, in development', async () => {
    const local = await createTestIssuer('urn:flux:local-issuer');
    const by = createWith({ environment: 'development', localIssuer: local });
    const token = await local.sign({ agency: 'bls', exp: seconds() + 86_400 });
    await expect(by.authenticate(token)).resolves.toMatchObject({ agency: 'bls' });
  });
});

describe('a forged token', () => {
  it('signed by another key of the same name is refused', async () => {
    const forger = await createTestIssuer(issuerName);
    await refusal(await forger.sign());
    await refusal(await forger.sign({}, { kid: issuer.jwks.keys[0]?.kid }));
  });

  it('whose claims were changed after signing is refused', async () => {
    const [header, , signature] = (await issuer.sign()).split('.');
    const claims = {
      iss: issuerName,
      aud: testAudience,
      sub: 'x',
      jti: 'x',
      iat: seconds(),
      exp: seconds() + 60,
      agency: 'noaa',
      role: 'admin',
    };
    expect(await refusal(`${header}.${part(claims)}.${signature}`)).toBe('signature verification failed');
  });

  it.each(['none', 'None', 'NONE'])('with alg %s is refused', async (alg) => {
    const [, claims] = (await issuer.sign()).split('.');
    await refusal(`${part({ alg })}.${claims}.`);
    await refusal(`${part({ alg })}.${claims}.AA`);
  });

  it('with an HMAC keyed by the public key is refused', async () => {
    const [, claims] = (await issuer.sign()).split('.');
    const signed = `${part({ alg: 'HS256' })}.${claims}`;
    const mac = createHmac('sha256', JSON.stringify(issuer.jwks.keys[0])).update(signed).digest('base64url');
    await refusal(`${signed}.${mac}`);
  });

  it('that brings its own key, or critical extensions, is refused', async () => {
    const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
    const own = await new SignJWT({ agency: 'nasa', role: 'admin', jti: randomUUID() })
      .setProtectedHeader({ alg: 'ES256', jwk: await exportJWK(publicKey) })
      .setIssuer(issuerName)
      .setAudience(testAudience)
      .setSubject('x')
      .setIssuedAt()
      .setExpirationTime('5m')
      .sign(privateKey);
    await refusal(own);
    const [, claims, signature] = (await issuer.sign()).split('.');
    expect(await refusal(`${part({ alg: 'ES256', crit: ['b64'], b64: true })}.${claims}.${signature}`)).toMatch(
      /critical/,
    );
  });
});

describe('another spelling of a good token', () => {
  const twins: [string, (token: string) => string][] = [
    ['a space before', (token) => ` ${token}`],
    ['a space after', (token) => `${token} `],
    ['a line feed after', (token) => `${token}\n`],
    ['a space within the claims', (token) => token.replace(/\.(.{8})/, '.$1 ')],
    ['padding', (token) => `${token}=`],
    ['the alphabet of plain base64', (token) => token.replaceAll('-', '+').replaceAll('_', '/') + '+'],
    ['a fourth part', (token) => `${token}.AA`],
    ['two parts', (token) => token.split('.').slice(0, 2).join('.')],
    ['an empty part', (token) => token.replace(/\..*\./, '..')],
  ];
  it.each(twins)('with %s is refused', async (_name, twin) => {
    expect(await refusal(twin(await issuer.sign()))).toMatch(/one spelling/);
  });

  it('with idle bits in the last character is refused', async () => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    // An ES256 signature has 64 bytes, so its last character carries two bits, and four are idle.
    const token = await issuer.sign();
    const last = alphabet.indexOf(token.at(-1) as string);
    const twin = token.slice(0, -1) + alphabet[last + 1];
    expect(Buffer.from(twin.split('.')[2] as string, 'base64url')).toEqual(
      Buffer.from(token.split('.')[2] as string, 'base64url'),
    );
    expect(await refusal(twin)).toMatch(/one spelling/);
  });

  it('above 8,192 characters is refused', async () => {
    expect(await refusal(await issuer.sign({ sub: 'x'.repeat(8_000) }))).toMatch(/one spelling/);
  });

  it('with a claim given twice is refused, although the signature is good', async () => {
    const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
    const by = createWith({
      issuers: [{ issuer: issuerName, jwks: { keys: [await exportJWK(publicKey)] }, agencies: ['nasa'] }],
    });
    const good = JSON.stringify({
      iss: issuerName,
      aud: testAudience,
      sub: 'x',
      jti: 'x',
      iat: seconds(),
      exp: seconds() + 60,
      agency: 'nasa',
      role: 'viewer',
    });
    const sign = async (claims: string): Promise<string> => {
      const text = `${part({ alg: 'ES256' })}.${base64url.encode(claims)}`;
      const bytes = await crypto.subtle.sign(
        { name: 'ECDSA', hash: 'SHA-256' },
        privateKey,
        new TextEncoder().encode(text),
      );
      return `${text}.${Buffer.from(bytes).toString('base64url')}`;
    };
    await expect(by.authenticate(await sign(good))).resolves.toMatchObject({ role: 'viewer' });
    await refusal(await sign(good.replace('"role"', '"role":"admin","role"')), by);
    await refusal(await sign(good.replace('"role"', '"r\\u006fle":"admin","role"')), by);
    await refusal(await sign(`[${good}]`), by);
    await refusal(await sign('not json'), by);
  });
});

describe('claims', () => {
  const cases: [string, Record<string, unknown>, RegExp][] = [
    ['an expired token', { iat: seconds() - 700, exp: seconds() - 1 }, /expired/],
    ['a token of the future', { iat: seconds() + 120, exp: seconds() + 600 }, /future|iat/],
    ['a token that is not valid yet', { nbf: seconds() + 120 }, /nbf/],
    ['a life above an hour', { exp: seconds() + 3_700 }, /too long/],
    ['an end before the beginning', { iat: seconds() + 20, exp: seconds() + 10 }, /after iat/],
    ['another audience', { aud: 'other' }, /aud/],
    ['another issuer', { iss: 'https://login.example.com' }, /not trusted/],
    ['an issuer that is a list', { iss: [issuerName] }, /not trusted/],
    ['no jti', { jti: undefined }, /jti/],
    ['an empty jti', { jti: '' }, /jti/],
    ['no sub', { sub: undefined }, /sub/],
    ['a sub with a line feed', { sub: 'a\nb' }, /sub/],
    ['no exp', { exp: undefined }, /exp/],
    ['an exp as text', { exp: '9999999999' }, /exp/],
    ['no agency', { agency: undefined }, /slug/],
    ['a list of agencies', { agency: ['nasa'] }, /slug/],
    ['an object as agency', { agency: { nasa: true } }, /slug/],
    ['an empty agency', { agency: '' }, /slug/],
    ['an agency in capitals', { agency: 'NASA' }, /slug/],
    ['an agency with a separator', { agency: 'nasa|noaa' }, /slug/],
    ['an agency that the issuer is not bound to', { agency: 'faa' }, /bound/],
    ['an unknown role', { role: 'superuser' }, /role/],
    ['a list of roles', { role: ['admin'] }, /role/],
    ['an inherited name as role', { role: 'constructor' }, /role/],
    ['an unknown clearance', { clearance: 'COSMIC' }, /clearance/],
    ['a number as clearance', { clearance: 5 }, /clearance/],
  ];
  it.each(cases)('%s is refused', async (_name, claims, reason) => {
    expect(await refusal(await issuer.sign(claims))).toMatch(reason);
  });

  it('the caller never learns which rule refused the token', async () => {
    const messages = await Promise.all(
      ['x', await issuer.sign({ role: 'x' }), await issuer.sign({ aud: 'x' })].map((token) =>
        authenticator.authenticate(token).then(
          () => '',
          (error: Error) => error.message,
        ),
      ),
    );
    expect(new Set(messages).size).toBe(1);
  });
});

describe('configuration', () => {
  it('refuses the local issuer in production, and an issuer listed twice', () => {
    const local = { issuer: 'urn:flux:local-issuer', jwks: issuer.jwks };
    expect(() => createWith({ localIssuer: local })).toThrow(/development only/);
    const twice = { issuer: issuerName, jwks: issuer.jwks as never, agencies: ['nasa'] };
    expect(() => createWith({ issuers: [twice, twice] })).toThrow(/listed twice/);
  });

  it('refuses keys that prove nothing', async () => {
    const withKey = (key: Record<string, unknown>) => () =>
      createWith({ issuers: [{ issuer: 'x', jwks: { keys: [key] }, agencies: ['nasa'] }] });
    expect(withKey({ kty: 'oct', k: 'c2VjcmV0' })).toThrow(/symmetric/);
    const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true });
    const rsa = await exportJWK(publicKey);
    expect(withKey({ ...(await exportJWK(privateKey)) })).toThrow(/secret/);
    expect(withKey({ ...rsa, e: 'AQ' })).toThrow(/65,537/);
    expect(withKey({ ...rsa, n: (rsa.n as string).slice(0, 171) })).toThrow(/2,048/);
    expect(withKey({ kty: 'XYZ' })).toThrow(/unknown type/);
    expect(() => createWith({ issuers: [{ issuer: 'x', jwks: { keys: [] }, agencies: ['nasa'] }] })).toThrow(/no key/);
  });
});

describe('the Authorization header', () => {
  it('gives its bearer token', () => {
    expect(bearerToken('Bearer a.b.c')).toBe('a.b.c');
    expect(bearerToken('bearer a.b.c')).toBe('a.b.c');
  });

  it.each([undefined, '', 'Bearer', 'Bearer ', 'Basic abc', 'Bearer a b', 'Bearer  a', 'a.b.c'])(
    '%j is refused',
    (header) => {
      expect(() => bearerToken(header)).toThrow(/Authorization: Bearer/);
    },
  );
});
