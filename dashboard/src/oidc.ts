/** OpenID Connect in a browser: authorization code with PKCE (RFC 7636), no secret; tokens stay in memory (RFC 9700). */
import type { SignInWays, TokenGiver } from './session.ts';

type Provider = SignInWays['providers'][number];

interface Metadata {
  issuer: string;
  authorization_endpoint: string;
  token_endpoint: string;
}

interface Pending {
  issuer: string;
  state: string;
  verifier: string;
  returnTo: string;
}

interface TokenAnswer {
  access_token?: string;
  refresh_token?: string;
  error?: string;
  error_description?: string;
}

const pendingKey = 'flux.sign-in';
export const callbackPath = '/sign-in/callback';

/** Sends the browser to the provider; it comes back to `callbackPath`. */
export async function beginSignIn(provider: Provider): Promise<void> {
  const metadata = await discover(provider);
  const pending: Pending = {
    issuer: provider.issuer,
    state: randomText(),
    verifier: randomText(),
    returnTo: location.pathname + location.search,
  };
  sessionStorage.setItem(pendingKey, JSON.stringify(pending));
  const url = new URL(metadata.authorization_endpoint);
  for (const [name, value] of Object.entries({
    response_type: 'code',
    client_id: provider.clientId,
    redirect_uri: location.origin + callbackPath,
    scope: provider.scope ?? 'openid',
    state: pending.state,
    code_challenge: base64Url(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(pending.verifier))),
    code_challenge_method: 'S256',
  })) {
    url.searchParams.set(name, value);
  }
  location.assign(url.href);
}

/**
 * Takes the code that the provider sent the browser back with.
 *
 * @returns who gives tokens, and where the person had been
 * @throws Error the answer belongs to no sign-in of this tab (somebody else's code), or the provider refused
 */
export async function finishSignIn(providers: readonly Provider[]): Promise<{ tokens: TokenGiver; returnTo: string }> {
  const answer = new URLSearchParams(location.search);
  const text = sessionStorage.getItem(pendingKey);
  sessionStorage.removeItem(pendingKey);
  history.replaceState(null, '', '/');
  const pending = text === null ? null : (JSON.parse(text) as Pending);
  const provider = providers.find(({ issuer }) => issuer === pending?.issuer);
  const issuer = answer.get('iss');
  if (
    !pending ||
    !provider ||
    answer.get('state') !== pending.state ||
    (issuer !== null && issuer !== provider.issuer)
  ) {
    throw new Error('That answer belongs to no sign-in of this tab. Sign in again.');
  }
  const code = answer.get('code');
  if (code === null)
    throw new Error(answer.get('error_description') ?? answer.get('error') ?? 'The provider gave no code.');
  const { token_endpoint: endpoint } = await discover(provider);
  const first = await ask(endpoint, {
    grant_type: 'authorization_code',
    code,
    redirect_uri: location.origin + callbackPath,
    client_id: provider.clientId,
    code_verifier: pending.verifier,
  });
  return { tokens: keepFresh(endpoint, provider.clientId, first), returnTo: pending.returnTo };
}

function keepFresh(endpoint: string, clientId: string, first: TokenAnswer): TokenGiver {
  let unused: TokenAnswer | null = first;
  let refresh = first.refresh_token;
  return async () => {
    const given = unused ?? (await renew());
    unused = null;
    refresh = given.refresh_token ?? refresh;
    if (given.access_token === undefined) throw new Error('The provider gave no access token.');
    return given.access_token;
  };
  function renew(): Promise<TokenAnswer> {
    if (refresh === undefined) return Promise.reject(new Error('The session is over. Sign in again.'));
    return ask(endpoint, { grant_type: 'refresh_token', refresh_token: refresh, client_id: clientId });
  }
}

async function discover({ issuer }: Provider): Promise<Metadata> {
  const response = await fetch(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`);
  const metadata = (await response.json()) as Metadata;
  if (metadata.issuer !== issuer) throw new Error(`${issuer} says that it is ${metadata.issuer}.`);
  return metadata;
}

async function ask(endpoint: string, fields: Record<string, string>): Promise<TokenAnswer> {
  const response = await fetch(endpoint, { method: 'POST', body: new URLSearchParams(fields) });
  const answer = (await response.json()) as TokenAnswer;
  if (!response.ok)
    throw new Error(answer.error_description ?? answer.error ?? `The provider answered ${String(response.status)}.`);
  return answer;
}

function randomText(): string {
  return base64Url(crypto.getRandomValues(new Uint8Array(32)).buffer);
}

function base64Url(bytes: ArrayBuffer): string {
  return btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');
}
