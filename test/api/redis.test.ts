/** An API process whose hints travel over Redis, by TLS and with a password; what it says of itself when Redis is away. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';

import { createClient } from '@redis/client';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { createFlux, type RunEventItem, successOf } from '#sdk';
import { localIssuer } from '../../src/auth/local-issuer.ts';
import { ensureKeys } from '../../src/domain/manage-keys.ts';
import { localKeyEncryption } from '../../src/keys/key-encryption.ts';
import { createAuthority } from '../support/certificates.ts';
import { useDatabase } from '../support/database.ts';
import { testDataKey } from '../support/encryption.ts';
import { type FluxProcess, freePort, startFlux, temporaryFolder } from '../support/flux.ts';
import { createRedis, findRedisServer, type TestRedis } from '../support/redis.ts';
import { definitions, history, storedSeqs } from '../support/served-api.ts';

const database = useDatabase();
const program = await findRedisServer();
const patiently = { timeout: 60_000 };
const password = 'a+password/of-the-test';
let home: Awaited<ReturnType<typeof temporaryFolder>>;
let redis: TestRedis;
let ca: string;
let url: string;
let server: FluxProcess;

beforeAll(async () => {
  if (program === null) return;
  await database.addAgency('nasa');
  const { adminUrl, contextKey } = database;
  await ensureKeys({ adminUrl, contextKey, actor: 'operator:test', encryption: localKeyEncryption(testDataKey) });
  home = await temporaryFolder('redis-api');
  const authority = await createAuthority('Flux test');
  const { cert, key } = await authority.issue({ ip: '127.0.0.1' });
  ca = authority.ca;
  const files = { ca, cert, key };
  for (const [name, text] of Object.entries(files)) await writeFile(path.join(home.folder, `${name}.pem`), text);
  redis = await createRedis(program, {
    'tls-port': 'chosen',
    'tls-cert-file': path.join(home.folder, 'cert.pem'),
    'tls-key-file': path.join(home.folder, 'key.pem'),
    'tls-ca-cert-file': path.join(home.folder, 'ca.pem'),
    'tls-auth-clients': 'no',
    requirepass: password,
    // As docs/security.md says: no more than it takes.
    user: `flux on >${password} resetchannels &flux_work &flux_run_events -@all +publish +subscribe +ping`,
  });
  await redis.start();
  const port = await freePort();
  url = `http://127.0.0.1:${String(port)}`;
  server = startFlux(['serve'], {
    home: home.folder,
    env: {
      FLUX_PORT: String(port),
      FLUX_METRICS_PORT: '0',
      FLUX_API_DATABASE_URL: database.apiUrl,
      FLUX_CONTEXT_KEY: database.contextKey.toString('hex'),
      FLUX_DATA_KEY: testDataKey.toString('hex'),
      REDIS_URL: `rediss://flux:${encodeURIComponent(password)}@127.0.0.1:${String(redis.port)}`,
      NODE_EXTRA_CA_CERTS: path.join(home.folder, 'ca.pem'),
    },
  });
  await server.says(/listening for hints/);
});
afterAll(async () => {
  if (program === null) return;
  server.kill('SIGKILL');
  await server.ended;
  await redis.remove();
  await home.remove();
});

const health = async (): Promise<{ code: number; status: string; failed: string[] }> => {
  const response = await fetch(`${url}/health/ready`);
  const { status, checks } = (await response.json()) as { status: string; checks: Record<string, string> };
  return { code: response.status, status, failed: Object.keys(checks).filter((name) => checks[name] !== 'ok') };
};
/** No sealer runs here. */
const whole = { code: 200, status: 'degraded', failed: ['sealer'] };

it(
  'hears over it, serves on and says `degraded` while it is away, and hears again when it is back',
  { timeout: 180_000 },
  async (context) => {
    if (program === null) return context.skip('neither redis-server nor valkey-server is installed');
    const issuer = await localIssuer(home.folder);
    const token = () => issuer.sign({ agency: 'nasa', role: 'admin', subject: 'ada@example.gov', minutes: 10 }, 'flux');
    const flux = createFlux({ url, token });
    const sender = createClient({
      url: `rediss://default:${encodeURIComponent(password)}@127.0.0.1:${String(redis.port)}`,
      socket: { tls: true, ca },
    });
    sender.on('error', () => undefined);
    await sender.connect();
    try {
      successOf(await flux.api.registerConnection({ definition: definitions.connection }));
      successOf(await flux.api.registerContract({ name: 'reading', document: definitions.contract }));
      successOf(await flux.api.registerPipeline({ definition: definitions.pipeline }));
      expect(await health()).toEqual(whole);
      // What a mutation tells goes over Redis too.
      const told: string[] = [];
      const ear = sender.duplicate();
      ear.on('error', () => undefined);
      await ear.connect();
      await ear.subscribe('flux_work', (message) => told.push(message));
      const { id, runId } = successOf(await flux.api.startRun({ pipeline: 'readings' }));
      await expect.poll(() => told, patiently).toEqual(['']);
      ear.destroy();

      const items: RunEventItem[] = [];
      const watching = (async () => {
        for await (const item of flux.runs.watch(id)) items.push(item);
      })();
      const run = history(database, 'nasa', runId);
      await run.start();
      await run.batches(3);
      await sender.publish('flux_run_events', runId);
      await expect.poll(() => items.length, patiently).toBe(5);

      await redis.kill();
      await run.batches(3);
      await expect.poll(() => items.length, patiently).toBe(8);
      await expect.poll(health, patiently).toEqual({ code: 200, status: 'degraded', failed: ['cache', 'sealer'] });

      await redis.start();
      await expect.poll(health, patiently).toEqual(whole);
      await run.complete();
      await watching;
      const seqs = items.flatMap((item) => ('seq' in item ? [item.seq] : []));
      expect(seqs).toEqual(await storedSeqs(database, runId));
    } finally {
      flux.close();
      sender.destroy();
    }
    server.kill('SIGTERM');
    const { code, stdout, stderr } = await server.ended;
    expect(code).toBe(0);
    expect(stdout + stderr).not.toContain(password);
    expect(stdout + stderr).not.toContain(encodeURIComponent(password));
  },
);
