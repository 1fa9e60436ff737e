import { beforeAll, describe, expect, it } from 'vitest';

import { type Authenticator, createAuthenticator } from '../../../src/auth/authenticator.ts';
import { isFluxError } from '../../../src/errors.ts';
import { createTestIssuer, testAudience, type TestIssuer } from '../../support/tokens.ts';

const issuerName = 'https://login.example.gov';
let first: TestIssuer;
let second: TestIssuer;

beforeAll(async () => {
  first = await createTestIssuer(issuerName);
  second = await createTestIssuer(issuerName);
});

/** An issuer's key set served by a function, on a clock that the test moves. */
function remote(answer: () => Response | Promise<Response>, url = 'https://login.example.gov/jwks') {
  let requests = 0;
  const clock = { now: Date.now() };
  const authenticator: Authenticator = createAuthenticator({
    environment: 'production',
    issuers: [{ issuer: issuerName, jwksUri: url, agencies: ['nasa'] }],
    audience: testAudience,
    now: () => clock.now,
    fetch: async (_url, options) => {
      requests += 1;
      expect(options?.redirect).toBe('error');
      return answer();
    },
  });
  return { authenticator, clock, requests: () => requests };
}

const serve = (issuer: TestIssuer): Response => Response.json(issuer.jwks);

describe('a key set behind a URL', () => {
  it('is fetched once for many tokens', async () => {
    const { authenticator, requests } = remote(() => serve(first));
    const tokens = await Promise.all(Array.from({ length: 20 }, () => first.sign()));
    await Promise.all(tokens.map((token) => authenticator.authenticate(token)));
    await authenticator.authenticate(await first.sign());
    expect(requests()).toBe(1);
  });

  it('is fetched again for an unknown kid, but at most every 30 seconds', async () => {
    let current = first;
    const { authenticator, clock, requests } = remote(() => serve(current));
    await authenticator.authenticate(await first.sign());
    for (let i = 0; i < 50; i++) {
      await expect(
        authenticator.authenticate(await first.sign({}, { kid: `invented-${String(i)}` })),
      ).rejects.toThrow();
    }
    expect(requests()).toBe(1);
    current = second;
    await expect(authenticator.authenticate(await second.sign())).rejects.toThrow();
    clock.now += 31_000;
    await expect(authenticator.authenticate(await second.sign())).resolves.toMatchObject({ agency: 'nasa' });
    expect(requests()).toBe(2);
  });

  it('stays good for an hour when the issuer is away, then fails closed', async () => {
    let away = false;
    const { authenticator, clock } = remote(() => (away ? new Response('', { status: 500 }) : serve(first)));
    const tokenNow = () => first.sign({ iat: Math.floor(clock.now / 1000), exp: Math.floor(clock.now / 1000) + 600 });
    await authenticator.authenticate(await tokenNow());
    away = true;
    clock.now += 3_500_000;
    await expect(authenticator.authenticate(await tokenNow())).resolves.toMatchObject({ agency: 'nasa' });
    clock.now += 200_000;
    const error: unknown = await authenticator.authenticate(await tokenNow()).catch((cause: unknown) => cause);
    expect(isFluxError(error, 'UNAVAILABLE')).toBe(true);
    // Within the cooldown it does not even ask.
    const again: unknown = await authenticator.authenticate(await tokenNow()).catch((cause: unknown) => cause);
    expect(isFluxError(again, 'UNAVAILABLE')).toBe(true);
    away = false;
    clock.now += 31_000;
    await expect(authenticator.authenticate(await tokenNow())).resolves.toMatchObject({ agency: 'nasa' });
  });

  it.each<[string, () => Response]>([
    ['that is not JSON', () => new Response('<html>')],
    ['without keys', () => Response.json({})],
    ['above 64 kB', () => Response.json({ keys: [], filler: 'x'.repeat(70_000) })],
    ['with a symmetric key', () => Response.json({ keys: [...first.jwks.keys, { kty: 'oct', k: 'AA' }] })],
    ['that is empty', () => new Response(null)],
  ])('%s is not used', async (_name, answer) => {
    const { authenticator } = remote(answer);
    const error: unknown = await authenticator.authenticate(await first.sign()).catch((cause: unknown) => cause);
    expect(isFluxError(error, 'UNAVAILABLE')).toBe(true);
  });

  it('without https is refused in production', () => {
    expect(() => remote(() => serve(first), 'http://login.example.gov/jwks')).toThrow(/https/);
  });
});
