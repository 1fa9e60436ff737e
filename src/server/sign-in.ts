import type { FastifyInstance, FastifyRequest } from 'fastify';

import { isRole, type Role, roles } from '../auth/roles.ts';
import { FluxError } from '../errors.ts';

/** An identity provider that people of the dashboard sign in with: OpenID Connect, authorization code with PKCE, no secret. */
export interface SignInProvider {
  /** As in the `iss` of its tokens; its discovery document lies below. */
  issuer: string;
  clientId: string;
  /** What the button says; the issuer if absent. */
  title?: string;
  /** `openid` if absent. */
  scope?: string;
}

export interface DevelopmentSignIn {
  /** Agencies to offer; any other can be typed. */
  agencies: readonly string[];
  sign(claims: { agency: string; role: Role; subject: string; minutes: number }): Promise<string>;
}

export interface SignInOptions {
  providers: readonly SignInProvider[];
  /** The local issuer's; never in production. */
  development?: DevelopmentSignIn;
}

const minutes = 60;
const slug = /^[a-z0-9][a-z0-9-]{1,62}[a-z0-9]$/;
const loopbackNames = /^(localhost|127(\.\d+){3}|\[::1\])(:\d+)?$/;
const loopbackAddresses = /^(127\.|::1$|::ffff:127\.)/;

/**
 * `GET /v1/sign-in`: how one can sign in here. `POST /v1/sign-in/development` `{ agency, role, subject }`: a token of the local issuer,
 * for a browser on the same machine only: whoever may reach a developer's port from elsewhere must not become anyone.
 */
export function serveSignIn(server: FastifyInstance, { providers, development }: SignInOptions): void {
  server.get('/v1/sign-in', () => ({
    providers,
    development: development ? { agencies: development.agencies, roles } : null,
  }));
  if (!development) return;
  server.post('/v1/sign-in/development', async (request) => {
    if (!isFromThisMachine(request)) {
      throw new FluxError(
        'FORBIDDEN',
        'The local issuer signs for pages on this machine only, asked for as localhost.',
      );
    }
    const { agency, role, subject } = (request.body ?? {}) as Record<string, unknown>;
    if (typeof agency !== 'string' || !slug.test(agency)) {
      throw new FluxError('INVALID_INPUT', 'agency should be an agency slug such as national-archives.');
    }
    if (typeof role !== 'string' || !isRole(role)) {
      throw new FluxError('INVALID_INPUT', `role should be one of ${roles.join(', ')}.`);
    }
    if (typeof subject !== 'string' || !/^[\x21-\x7e]{1,200}$/.test(subject)) {
      throw new FluxError('INVALID_INPUT', 'subject should say who you are: 1 to 200 characters without spaces.');
    }
    const token = await development.sign({ agency, role, subject, minutes });
    return { token, expiresInSeconds: minutes * 60 };
  });
}

/** Not from another machine, and not from a foreign page through a name that it made point here. */
function isFromThisMachine({ socket, headers }: FastifyRequest): boolean {
  const site = headers['sec-fetch-site'];
  return (
    loopbackAddresses.test(socket.remoteAddress ?? '') &&
    loopbackNames.test(headers.host ?? '') &&
    (site === undefined || site === 'same-origin' || site === 'none')
  );
}
