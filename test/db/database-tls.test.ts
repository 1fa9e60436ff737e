/** TLS to Postgres: verify-full against a real server with a certificate of the test's own authority. */
import { once } from 'node:events';
import { chmod, chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect as connectTo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Duplex } from 'node:stream';
import { connect as connectTls, TLSSocket } from 'node:tls';

import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';

import { connect, createPool } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import { serverUser } from '../../src/embedded-postgres/os-user.ts';
import { type EmbeddedPostgres, startEmbedded } from '../../src/embedded-postgres/start-embedded.ts';
import { createAuthority } from '../support/certificates.ts';

let folder: string;
let postgres: EmbeddedPostgres;
/** Another certificate of the same authority for the same name. */
let others: { cert: string; key: string };
const logger = { info: () => undefined, warn: () => undefined, error: () => undefined };

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'flux-pg-tls-'));
  await chmod(folder, 0o755);
  const authority = await createAuthority('good CA');
  const { cert, key } = await authority.issue({ dns: 'localhost' });
  others = await authority.issue({ dns: 'localhost' });
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

/** Whoever has a certificate that is believed, and passes on what it reads: over TLS, or in plain. */
async function listenBetween(onwards: 'tls' | 'plain'): Promise<{ port: number; stop(): Promise<void> }> {
  const { port: behind } = new URL(postgres.adminUrl);
  const asksForTls = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    sockets.add(client);
    client.on('error', () => undefined);
    client.once('data', () => {
      client.write('S');
      const inside = new TLSSocket(client, { isServer: true, cert: others.cert, key: others.key });
      const onward = connectTo(Number(behind), '127.0.0.1');
      sockets.add(onward);
      const join = (to: Duplex): void => {
        for (const one of [inside, to]) one.on('error', () => client.destroy());
        inside.pipe(to).pipe(inside);
      };
      if (onwards === 'plain') return join(onward);
      onward.write(asksForTls);
      onward.once('data', () => join(connectTls({ socket: onward, rejectUnauthorized: false })));
    });
  });
  server.listen(0, 'localhost');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async stop() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

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

describe('a login bound to its TLS connection', () => {
  const required = (url: string): string => `${url}&channel_binding=require`;
  const login = async (url: string): Promise<string> => {
    const connection = await connect({ url, applicationName: 'tls' });
    const { rows } = await connection.query<{ user: string }>(sql`select current_user::text as user`);
    await connection.end();
    return rows[0]?.user ?? '';
  };

  test('is let in where it is required', async () => {
    expect(await login(required(urlOf('localhost', 'good-ca.pem')))).toBe(new URL(postgres.adminUrl).username);
  });

  test('does not pass through somebody in between whose certificate is believed', async () => {
    const url = new URL(urlOf('localhost', 'good-ca.pem'));
    const between = await listenBetween('tls');
    url.port = String(between.port);
    // By default too: the server offers it, and so it is used.
    await expect(login(url.href)).rejects.toMatchObject({ message: expect.stringMatching(/channel binding/i) });
    await between.stop();
  });

  test('is what somebody in between could talk a client out of, unless it is required', async () => {
    const url = new URL(urlOf('localhost', 'good-ca.pem'));
    const between = await listenBetween('plain');
    url.port = String(between.port);
    expect(await login(url.href)).not.toBe('');
    await expect(login(required(url.href))).rejects.toMatchObject({
      message: expect.stringMatching(/offers no more than SCRAM-SHA-256, and channel_binding=require/),
    });
    await between.stop();
  });

  test('is required of every connection of a pool', async () => {
    const url = new URL(postgres.adminUrl);
    url.searchParams.set('channel_binding', 'require');
    const pool = createPool({ url: url.href, max: 1, applicationName: 'tls' });
    await expect(pool.query(sql`select 1`)).rejects.toMatchObject({ message: expect.stringContaining('expects') });
    await pool.end();
  });
});

test('a server without TLS is refused by a client that was told to verify', async () => {
  // The server of the other tests speaks no TLS.
  const url = new URL(inject('fluxServer').serverUrl);
  url.searchParams.set('sslmode', 'verify-full');
  url.searchParams.set('sslrootcert', path.join(folder, 'good-ca.pem'));
  const refused = connect({ url: url.href, applicationName: 'tls' }).then((one) => one.end());
  await expect(refused).rejects.toMatchObject({ message: expect.stringContaining('does not support SSL') });
});
