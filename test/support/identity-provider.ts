import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import { CompactSign, exportJWK, generateKeyPair, importJWK, type JWK, SignJWT } from 'jose';
import Provider from 'oidc-provider';

import { testAudience } from './tokens.ts';

const client = { id: 'flux-client', secret: 'flux-secret' };

/** A real OpenID provider on loopback, as an agency has one. */
export interface IdentityProvider {
  /** Its `iss`, an https address. */
  issuer: string;
  jwksUri: string;
  /** An access token of the provider's own making (RFC 9068), with these claims. One at a time. */
  token(claims: Record<string, unknown>): Promise<string>;
  /** What its current key signs and it would never issue. `undefined` leaves a claim out. */
  sign(claims?: Record<string, unknown>, header?: Record<string, unknown>): Promise<string>;
  /** The same for a payload of any text. */
  signText(payload: string, header?: Record<string, unknown>): Promise<string>;
  publicKey(): JWK;
  /** Goes over to a new key; the old one is published no more. */
  rotate(): Promise<void>;
  /** How often its key set was asked for. */
  keyRequests(): number;
  stop(): Promise<void>;
}

/** Reaches providers by plain http where their tokens say https: the certificate is not what these tests are about. */
export const fetchFromProviders: typeof fetch = (input, init) =>
  fetch(String(input instanceof Request ? input.url : input).replace(/^https:/, 'http:'), init);

/** Tokens that say everything themselves need no store. */
const nothingIsKept = {
  upsert: () => Promise.resolve(),
  find: () => Promise.resolve(undefined),
  findByUserCode: () => Promise.resolve(undefined),
  findByUid: () => Promise.resolve(undefined),
  consume: () => Promise.resolve(),
  destroy: () => Promise.resolve(),
  revokeByGrantId: () => Promise.resolve(),
};

export async function startIdentityProvider(alg = 'ES256'): Promise<IdentityProvider> {
  let handle: (request: IncomingMessage, response: ServerResponse) => Promise<void> = () => Promise.resolve();
  let key: JWK;
  let granted: Record<string, unknown> = {};
  let keyRequests = 0;
  const server = createServer((request, response) => {
    if (request.url?.startsWith('/jwks')) keyRequests += 1;
    void handle(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = `127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  const issuer = `https://${address}`;

  const rotate = async (): Promise<void> => {
    const { privateKey } = await generateKeyPair(alg, { extractable: true });
    key = { ...(await exportJWK(privateKey)), kid: crypto.randomUUID(), alg, use: 'sig' };
    const provider = new Provider(issuer, {
      clients: [
        {
          client_id: client.id,
          client_secret: client.secret,
          grant_types: ['client_credentials'],
          redirect_uris: [],
          response_types: [],
          id_token_signed_response_alg: alg as 'ES256',
        },
      ],
      jwks: { keys: [key] },
      adapter: () => nothingIsKept,
      ttl: { ClientCredentials: 600 },
      features: {
        devInteractions: { enabled: false },
        clientCredentials: { enabled: true },
        resourceIndicators: {
          enabled: true,
          defaultResource: () => 'urn:flux:api',
          getResourceServerInfo: () => ({
            scope: '',
            audience: testAudience,
            accessTokenTTL: 600,
            accessTokenFormat: 'jwt',
            jwt: { sign: { alg: alg as 'ES256' } },
          }),
        },
      },
      extraTokenClaims: () => granted,
    });
    // It stands behind what would be a proxy that terminates TLS.
    provider.proxy = true;
    const answer = provider.callback();
    handle = async (request, response) => {
      request.headers['x-forwarded-proto'] = 'https';
      await answer(request, response);
    };
  };
  await rotate();

  const signText = async (payload: string, header: Record<string, unknown> = {}): Promise<string> => {
    return new CompactSign(new TextEncoder().encode(payload))
      .setProtectedHeader({ alg, kid: key.kid as string, ...header })
      .sign(await importJWK(key, alg), { crit: { 'urn:x': true } });
  };
  return {
    issuer,
    jwksUri: `${issuer}/jwks`,
    async token(claims) {
      granted = claims;
      const response = await fetch(`http://${address}/token`, {
        method: 'POST',
        headers: {
          'content-type': 'application/x-www-form-urlencoded',
          authorization: `Basic ${Buffer.from(`${client.id}:${client.secret}`).toString('base64')}`,
        },
        body: 'grant_type=client_credentials',
      });
      const body = (await response.json()) as { access_token?: string };
      if (body.access_token === undefined) throw new Error(`expected a token, found ${JSON.stringify(body)}`);
      return body.access_token;
    },
    async sign(claims = {}, header = {}) {
      const now = Math.floor(Date.now() / 1000);
      const all = {
        iss: issuer,
        aud: testAudience,
        sub: 'ada@example.gov',
        jti: crypto.randomUUID(),
        iat: now,
        exp: now + 600,
        agency: 'nasa',
        role: 'operator',
        ...claims,
      };
      return new SignJWT(JSON.parse(JSON.stringify(all)) as Record<string, unknown>)
        .setProtectedHeader({ alg, kid: key.kid as string, ...header })
        .sign(await importJWK(key, alg));
    },
    signText,
    publicKey: () => {
      const { d: _d, p: _p, q: _q, dp: _dp, dq: _dq, qi: _qi, ...open } = key;
      return open;
    },
    rotate,
    keyRequests: () => keyRequests,
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
