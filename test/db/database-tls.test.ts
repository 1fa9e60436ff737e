/** TLS to Postgres: verify-full against a real server with a certificate of the test's own authority. */
import { chmod, chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, expect, inject, test } from 'vitest';

import { connect } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import { serverUser } from '../../src/embedded-postgres/os-user.ts';
import { type EmbeddedPostgres, startEmbedded } from '../../src/embedded-postgres/start-embedded.ts';
import { createAuthority } from '../support/certificates.ts';

let folder: string;
let postgres: EmbeddedPostgres;
const logger = { info: () => undefined, warn: () => undefined, error: () => undefined };

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'flux-pg-tls-'));
  await chmod(folder, 0o755);
  const authority = await createAuthority('good CA');
  const { cert, key } = await authority.issue({ dns: 'localhost' });
  const file = (name: string): string => path.join(folder, name);
  await writeFile(file('good-ca.pem'), authority.ca);
  await writeFile(file('wrong-ca.pem'), (await createAuthority('wrong CA')).ca);
  await writeFile(file('server.pem'), cert);
  await writeFile(file('server.key'), key, { mode: 0o600 });
  const user = await serverUser(path.join(folder, 'none'));
  if (user) await Promise.all(['server.pem', 'server.key'].map((name) => chown(file(name), user.uid, user.gid)));
  postgres = await startEmbedded({
    home: path.join(folder, 'home'),
    logger,
    settings: { fsync: 'off', ssl: 'on', ssl_cert_file: file('server.pem'), ssl_key_file: file('server.key') },
  });
}, 120_000);
afterAll(async () => {
  await postgres?.stop();
  await rm(folder, { recursive: true, force: true });
});

function urlOf(host: string, ca: string): string {
  const url = new URL(postgres.adminUrl);
  url.hostname = host;
  url.searchParams.set('sslmode', 'verify-full');
  url.searchParams.set('sslrootcert', path.join(folder, ca));
  return url.href;
}

test('the right authority and the right name are let in, over TLS', async () => {
  const connection = await connect({ url: urlOf('localhost', 'good-ca.pem'), applicationName: 'tls' });
  const { rows } = await connection.query(sql`select ssl, version from pg_stat_ssl where pid = pg_backend_pid()`);
  await connection.end();
  expect(rows).toEqual([{ ssl: true, version: 'TLSv1.3' }]);
});

test.each([
  ['another authority', 'localhost', 'wrong-ca.pem', /certificate/],
  ['a name that the certificate does not carry', '127.0.0.1', 'good-ca.pem', /altnames|IP/i],
])('%s is refused', async (_name, host, ca, told) => {
  const refused = connect({ url: urlOf(host, ca), applicationName: 'tls' }).then((one) => one.end());
  await expect(refused).rejects.toMatchObject({ message: expect.stringMatching(told) });
});

test('a server without TLS is refused by a client that was told to verify', async () => {
  // The server of the other tests speaks no TLS.
  const url = new URL(inject('fluxServer').serverUrl);
  url.searchParams.set('sslmode', 'verify-full');
  url.searchParams.set('sslrootcert', path.join(folder, 'good-ca.pem'));
  const refused = connect({ url: url.href, applicationName: 'tls' }).then((one) => one.end());
  await expect(refused).rejects.toMatchObject({ message: expect.stringContaining('does not support SSL') });
});
