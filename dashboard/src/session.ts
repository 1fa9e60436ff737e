import { createFlux, type Flux, type OnConnection } from '@flux-etl/sdk';

/** How one can sign in to this installation. */
export interface SignInWays {
  providers: readonly { issuer: string; clientId: string; title?: string; scope?: string }[];
  development: { agencies: readonly string[]; roles: readonly string[] } | null;
}

export interface DevelopmentIdentity {
  agency: string;
  role: string;
  subject: string;
}

export interface Viewer {
  subject: string;
  agency: string;
  role: string;
  scopes: readonly string[];
  clearance: string;
}

/** Somebody who has signed in. The token is known to the closure that gives it, and to nobody else: no storage holds it. */
export interface Session {
  readonly flux: Flux;
  readonly viewer: Viewer;
  may(scope: string): boolean;
}

/** Who gives tokens: asked first, and again when the last one is over. */
export type TokenGiver = () => Promise<string>;

export async function signInWays(): Promise<SignInWays> {
  const response = await fetch('/v1/sign-in');
  if (!response.ok) throw new Error(`The server answered ${String(response.status)} to how one signs in here.`);
  return (await response.json()) as SignInWays;
}

/** Tokens of the development machine's own issuer. */
export function developmentTokens(identity: DevelopmentIdentity): TokenGiver {
  return async () => {
    const response = await fetch('/v1/sign-in/development', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(identity),
    });
    const body = (await response.json()) as { token?: string; errors?: { message: string }[] };
    if (body.token === undefined) throw new Error(body.errors?.[0]?.message ?? 'The local issuer gave no token.');
    return body.token;
  };
}

/** @throws FluxError the API does not take the token */
export async function openSession(tokens: TokenGiver, onConnection: OnConnection): Promise<Session> {
  const flux = createFlux({ url: location.origin, token: tokens, onConnection });
  try {
    const viewer = await flux.api.viewer();
    const scopes = new Set(viewer.scopes);
    return { flux, viewer, may: (scope) => scopes.has(scope) };
  } catch (cause) {
    flux.close();
    throw cause;
  }
}

/** Who was signed in on this tab, to be signed in again after a reload: a choice, never a token. */
const remembered = 'flux.development-identity';

export function rememberedIdentity(): DevelopmentIdentity | null {
  const text = sessionStorage.getItem(remembered);
  return text === null ? null : (JSON.parse(text) as DevelopmentIdentity);
}

export function rememberIdentity(identity: DevelopmentIdentity | null): void {
  if (identity) sessionStorage.setItem(remembered, JSON.stringify(identity));
  else sessionStorage.removeItem(remembered);
}
