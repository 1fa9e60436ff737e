import { FluxError } from '../errors.ts';
import { type Connection, connect } from './pool.ts';

/**
 * Connects with an admin's URL and says plainly why it cannot: these URLs are typed by people.
 *
 * @throws UNAVAILABLE the server does not answer
 * @throws CONFIG_INVALID the server refuses the login, or has no such database
 */
export async function connectAdmin(
  url: string,
  applicationName: string,
): Promise<Connection & { end(): Promise<void> }> {
  try {
    return await connect({ url, applicationName });
  } catch (cause) {
    throw explain(url, cause);
  }
}

function explain(url: string, cause: unknown): unknown {
  const { host, username, pathname } = new URL(url);
  const where = host || 'the local socket';
  const database = decodeURIComponent(pathname.slice(1));
  const root = innermost(cause);
  switch (root.code) {
    case '3D000':
      return new FluxError(
        'CONFIG_INVALID',
        `The server ${where} has no database ${database}. Create it, or correct DATABASE_URL.`,
        { cause },
      );
    case '28P01':
    case '28000':
      return new FluxError(
        'CONFIG_INVALID',
        `The server ${where} refused the login ${decodeURIComponent(username)}. Correct user and password in DATABASE_URL.`,
        { cause },
      );
    case 'ENOTFOUND':
      return new FluxError('UNAVAILABLE', `There is no host ${where}. Correct DATABASE_URL.`, { cause });
    default:
      if (!(cause instanceof FluxError) || cause.code !== 'UNAVAILABLE') return cause;
      return new FluxError(
        'UNAVAILABLE',
        `No PostgreSQL answers at ${where} (${root.code ?? root.message}). Start it, or correct DATABASE_URL.`,
        { cause },
      );
  }
}

function innermost(cause: unknown): { code?: string; message: string } {
  let at = cause as { cause?: unknown; code?: string; message: string };
  while (at instanceof FluxError && at.cause !== undefined) at = at.cause as typeof at;
  return at;
}
