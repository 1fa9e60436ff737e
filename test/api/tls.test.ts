/** TLS for clients: https and wss, what is negotiated, and a certificate that is renewed while the server runs. */
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { connect } from 'node:tls';

import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { WebSocket } from 'ws';

import { graphqlPath } from '../../src/server/start-server.ts';
import { readTls } from '../../src/server/tls.ts';
import { principalOf } from '../support/api.ts';
import { type ApiServer, startApiServer } from '../support/api-server.ts';
import { type Authority, createAuthority } from '../support/certificates.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();
let folder: string;
let authority: Authority;
let server: ApiServer;
const authenticator = { authenticate: () => Promise.resolve(principalOf('nasa')) };
const files = () => ({ cert: path.join(folder, 'cert.pem'), key: path.join(folder, 'key.pem') });

async function write(subject: string): Promise<void> {
  const { cert, key } = await authority.issue({ ip: '127.0.0.1' }, subject);
  await writeFile(files().key, key);
  await writeFile(files().cert, cert);
}

beforeAll(async () => {
  await database.addAgency('nasa');
  folder = await mkdtemp(path.join(tmpdir(), 'flux-tls-'));
  authority = await createAuthority('Flux test CA');
  await write('first');
  server = await startApiServer(database, { authenticator, tls: files(), tlsEveryMs: 50 });
});
afterAll(async () => {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

function shake(options: object = {}): Promise<{ subject: string; protocol: string; cipher: string }> {
  return new Promise((resolve, reject) => {
    const socket = connect(
      { port: Number(new URL(server.url).port), host: '127.0.0.1', ca: authority.ca, ...options },
      () => {
        const seen = {
          subject: String(socket.getPeerCertificate().subject.CN),
          protocol: socket.getProtocol() ?? '',
          cipher: socket.getCipher().name,
        };
        socket.end();
        resolve(seen);
      },
    );
    socket.on('error', reject);
  });
}

test('GraphQL is served over https and wss to a client that trusts the authority, and to no other', async () => {
  expect(server.url).toMatch(/^https:/);
  const post = (ca: string | undefined) =>
    new Promise<string>((resolve, reject) => {
      const sent = request(
        `${server.url}${graphqlPath}`,
        {
          method: 'POST',
          ca,
          agent: false,
          headers: { 'content-type': 'application/json', authorization: 'Bearer x' },
        },
        (response) => {
          let text = '';
          response.on('data', (data: Buffer) => (text += data.toString()));
          response.on('end', () => resolve(text));
        },
      );
      sent.on('error', reject);
      sent.end(JSON.stringify({ query: '{ viewer { agency } }' }));
    });
  expect(JSON.parse(await post(authority.ca))).toEqual({ data: { viewer: { agency: 'nasa' } } });
  await expect(post(undefined)).rejects.toThrow(/certificate/);
  const socket = new WebSocket(`${server.url.replace('https', 'wss')}${graphqlPath}`, 'graphql-transport-ws', {
    ca: authority.ca,
  });
  await new Promise((resolve, reject) => {
    socket.on('open', resolve);
    socket.on('error', reject);
  });
  socket.terminate();
});

test('only TLS 1.2 and 1.3 with forward secrecy and AES-GCM are spoken', async () => {
  expect(await shake()).toMatchObject({ protocol: 'TLSv1.3', cipher: expect.stringMatching(/^TLS_AES_\d+_GCM/) });
  expect(await shake({ maxVersion: 'TLSv1.2' })).toMatchObject({
    cipher: expect.stringMatching(/^ECDHE-ECDSA-AES\d+-GCM/),
  });
  await expect(shake({ maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' })).rejects.toThrow();
  await expect(shake({ maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256' })).rejects.toThrow();
});

test('a renewed certificate is served without a restart, and a bad pair keeps the one before and is logged', async () => {
  await write('second');
  await vi.waitFor(async () => expect((await shake()).subject).toBe('second'), { timeout: 20_000, interval: 50 });
  const { key } = await authority.issue({ ip: '127.0.0.1' });
  await writeFile(files().key, key); // another pair's key
  await vi.waitFor(() => expect(server.log.join('\n')).toContain('the present one stays'), {
    timeout: 20_000,
    interval: 50,
  });
  expect((await shake()).subject).toBe('second');
  await write('third');
  process.emit('SIGHUP');
  expect((await shake()).subject).toBe('third');
});

test('a certificate that cannot be used is a problem of the configuration, said before anything starts', async () => {
  const { cert } = files();
  expect(() => readTls({ cert: path.join(folder, 'none.pem'), key: files().key })).toThrow(/FLUX_TLS_CERT/);
  const other = path.join(folder, 'other.pem');
  await writeFile(other, (await authority.issue({ ip: '127.0.0.1' })).key);
  expect(() => readTls({ cert, key: other })).toThrow(/cannot be used/);
});

test('a server that stops waits for no connection on which nobody has asked anything', async () => {
  const stopping = await startApiServer(database, { authenticator, tls: files() });
  const { hostname, port } = new URL(stopping.url);
  const socket = connect({ port: Number(port), host: hostname, ca: authority.ca });
  await once(socket, 'secureConnect');
  socket.resume();
  const ended = once(socket, 'close');
  await stopping.stop();
  await ended;
});
