/** The SDK against API processes that are killed: another one comes back on the same port, and the stream goes on at its cursor. */
import { afterAll, beforeAll, expect, it } from 'vitest';

import { createFlux, type Flux, type RunEventItem, successOf } from '#sdk';
import { localIssuer } from '../../src/auth/local-issuer.ts';
import { ensureKeys } from '../../src/domain/manage-keys.ts';
import { localKeyEncryption } from '../../src/keys/key-encryption.ts';
import { useDatabase } from '../support/database.ts';
import { testDataKey } from '../support/encryption.ts';
import { type FluxProcess, freePort, startFlux, temporaryFolder } from '../support/flux.ts';
import { definitions, history, storedSeqs } from '../support/served-api.ts';

const database = useDatabase();
let home: Awaited<ReturnType<typeof temporaryFolder>>;
let port: number;
let server: FluxProcess;
let flux: Flux;

async function serve(): Promise<void> {
  server = startFlux(['serve'], {
    home: home.folder,
    env: {
      FLUX_PORT: String(port),
      FLUX_METRICS_PORT: '0',
      FLUX_API_DATABASE_URL: database.apiUrl,
      FLUX_CONTEXT_KEY: database.contextKey.toString('hex'),
      FLUX_DATA_KEY: testDataKey.toString('hex'),
    },
  });
  await server.says(/API is ready/);
}

beforeAll(async () => {
  await database.addAgency('nasa');
  // The processes seal what they store, as an installation does.
  const { adminUrl, contextKey } = database;
  await ensureKeys({ adminUrl, contextKey, actor: 'operator:test', encryption: localKeyEncryption(testDataKey) });
  home = await temporaryFolder('sdk-restart');
  port = await freePort();
  await serve();
  const issuer = await localIssuer(home.folder);
  const token = () => issuer.sign({ agency: 'nasa', role: 'admin', subject: 'ada@example.gov', minutes: 10 }, 'flux');
  flux = createFlux({ url: `http://127.0.0.1:${String(port)}`, token });
  successOf(await flux.api.registerConnection({ definition: definitions.connection }));
  successOf(await flux.api.registerContract({ name: 'reading', document: definitions.contract }));
  successOf(await flux.api.registerPipeline({ definition: definitions.pipeline }));
});
afterAll(async () => {
  flux.close();
  server.kill('SIGKILL');
  await server.ended;
  await home.remove();
});

it('delivers each event once and in order while the API is killed twice', { timeout: 120_000 }, async () => {
  const { id, runId } = successOf(await flux.api.startRun({ pipeline: 'readings' }));
  const run = history(database, 'nasa', runId);
  const items: RunEventItem[] = [];
  const watch = async (): Promise<void> => {
    for await (const item of flux.runs.watch(id)) items.push(item);
  };
  const write = async (): Promise<void> => {
    await run.start();
    for (let kill = 0; kill < 2; kill += 1) {
      await run.batches(10);
      await expect.poll(() => items.length, { timeout: 60_000 }).toBeGreaterThanOrEqual(12 + kill * 20);
      server.kill('SIGKILL');
      await server.ended;
      await run.batches(10);
      await serve();
    }
    await run.complete();
  };
  await Promise.all([watch(), write()]);
  expect(items.flatMap((item) => ('seq' in item ? [item.seq] : []))).toEqual(await storedSeqs(database, runId));
  expect(items.at(-1)).toMatchObject({ __typename: 'StreamEnd', status: 'COMPLETED' });
});

it('starts a run once although the API is killed and comes back while it is asked', { timeout: 120_000 }, async () => {
  server.kill('SIGKILL');
  await server.ended;
  const asked = flux.api.startRun({ pipeline: 'readings', idempotencyKey: 'once' });
  asked.catch(() => undefined);
  await serve();
  const first = successOf(await asked.catch(() => flux.api.startRun({ pipeline: 'readings', idempotencyKey: 'once' })));
  expect(successOf(await flux.api.startRun({ pipeline: 'readings', idempotencyKey: 'once' })).id).toBe(first.id);
});
