import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

import { exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';

/** A real OpenID provider on loopback that people sign in with in a browser. */
export interface LoginProvider {
  issuer: string;
  jwksUri: string;
  origin: string;
  clientId: string;
  /** What its access tokens say from now on. */
  grant(claims: Record<string, unknown>): void;
  /** For how many seconds its access tokens are good from now on. */
  tokensLast(seconds: number): void;
  /** The parameters of every request to a path of it, oldest first. */
  asked(path: '/auth' | '/token'): Record<string, string>[];
  stop(): Promise<void>;
}

/** @param origin of the page that asks its token endpoint */
export async function startLoginProvider({
  redirectUri,
  origin,
}: {
  redirectUri: string;
  origin: string;
}): Promise<LoginProvider> {
  const clientId = 'flux-dashboard';
  let granted: Record<string, unknown> = {};
  let seconds = 600;
  const requests: { path: string; parameters: Record<string, string> }[] = [];
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const issuer = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  const { privateKey } = await generateKeyPair('ES256', { extractable: true });
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: clientId,
        token_endpoint_auth_method: 'none',
        redirect_uris: [redirectUri],
        response_types: ['code'],
        grant_types: ['authorization_code', 'refresh_token'],
        id_token_signed_response_alg: 'ES256',
      },
    ],
    clientBasedCORS: (_context, asking) => asking === origin,
    cookies: { keys: ['a key of the test'] },
    jwks: { keys: [{ ...(await exportJWK(privateKey)), kid: 'one', alg: 'ES256', use: 'sig' }] },
    pkce: { required: () => true },
    ttl: {
      Session: 3_600,
      Interaction: 3_600,
      Grant: 3_600,
      AccessToken: () => seconds,
      IdToken: 600,
      RefreshToken: 3_600,
    },
    issueRefreshToken: () => Promise.resolve(true),
    features: {
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:flux:api',
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: '',
          audience: 'flux',
          accessTokenTTL: seconds,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
    extraTokenClaims: () => granted,
  });
  const answer = provider.callback();
  server.on('request', (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', issuer);
    if (pathname === '/auth') requests.push({ path: pathname, parameters: Object.fromEntries(searchParams) });
    if (pathname === '/token' && request.method === 'POST') {
      void bodyOf(request).then((text) =>
        requests.push({ path: pathname, parameters: Object.fromEntries(new URLSearchParams(text)) }),
      );
    }
    void answer(request, response);
  });
  return {
    issuer,
    jwksUri: `${issuer}/jwks`,
    origin: issuer,
    clientId,
    grant: (claims) => void (granted = claims),
    tokensLast: (lasting) => void (seconds = lasting),
    asked: (path) => requests.filter((one) => one.path === path).map(({ parameters }) => parameters),
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

/** A second look at what the provider itself reads. */
function bodyOf(request: IncomingMessage): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    request.on('data', (chunk: Buffer) => (text += chunk.toString()));
    request.on('end', () => resolve(text));
  });
}
