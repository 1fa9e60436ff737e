/** Data keys under a key management service of its own process: what it can do to us, and that nothing is lost by it. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { listDataKeys } from '../../src/db/data-keys.ts';
import { sql } from '../../src/db/sql.ts';
import { rewrapKeys, rotateKeys } from '../../src/domain/manage-keys.ts';
import { chooseKeyEncryption, type KeyEncryptionConfig } from '../../src/keys/choose-key-encryption.ts';
import { localKeyEncryption } from '../../src/keys/key-encryption.ts';
import { createAuthority } from '../support/certificates.ts';
import { useDatabase } from '../support/database.ts';
import { testDataKey, useSealedBench } from '../support/encryption.ts';
import { startKms, type TestKms } from '../support/kms.ts';

const database = useDatabase();
const bench = useSealedBench(database, ['nasa', 'noaa']);
let kms: TestKms;
let kept = '';

const encryption = (more: Partial<NonNullable<KeyEncryptionConfig['kms']>> = {}) =>
  chooseKeyEncryption({
    dataKey: testDataKey,
    dataKeysBefore: [],
    kms: { url: kms.url, token: kms.token, caFile: kms.caFile, keyName: 'flux', timeoutMs: 60_000, ...more },
  });
const ring = (more: Parameters<typeof encryption>[0] = {}) => bench.keyRing({ encryption: encryption(more) });
const operator = (more: Parameters<typeof encryption>[0] = {}) => ({ ...bench.operator, encryption: encryption(more) });
const wrappers = async (agency: string): Promise<(string | null)[]> =>
  (await listDataKeys(database.agencyPool(agency), agency)).map(({ kekId }) => kekId);
const payloadOf = async (runId: string, keys = ring()) => {
  const id = Buffer.from(`Run:${runId}`).toString('base64');
  const { data, errors } = await bench.ask(
    'nasa',
    'query ($id: ID!) { run(id: $id) { status payload } }',
    { id },
    { keys },
  );
  return { run: data?.['run'] as { status: string; payload: unknown } | null, codes: errors?.map(({ code }) => code) };
};

/** PEM file of an authority that the service's certificate is not of. */
async function otherAuthority(): Promise<string> {
  const file = path.join(bench.folder, 'other-ca.pem');
  await writeFile(file, (await createAuthority('other')).ca);
  return file;
}

beforeAll(async () => {
  await bench.addPipeline('nasa', 'people', 'people.csv', 'year,note\n2001,one\n2002,two\n');
  kept = await bench.run('nasa', 'people', { metadata: { remark: 'kept' } });
  kms = await startKms(bench.folder);
});
afterAll(() => kms.stop());
beforeEach(() => kms.set('well'));

test('keys move from FLUX_DATA_KEY to the service and open by it alone; runs go on', async () => {
  // It goes away after the first agency: what is done stays, and the rest comes later.
  const failing = operator();
  const wrap = failing.encryption.wrap.bind(failing.encryption);
  let wrapped = 0;
  failing.encryption.wrap = async (...args) => {
    wrapped += 1;
    if (wrapped === 3) await kms.stop();
    return wrap(...args);
  };
  await expect(rewrapKeys(failing)).rejects.toMatchObject({ code: 'UNAVAILABLE', retryable: true });
  expect(await wrappers('nasa')).toEqual(['kms:flux', 'kms:flux']);
  expect(await wrappers('noaa')).not.toContain('kms:flux');
  await kms.restart();
  expect(await rewrapKeys(operator())).toEqual([{ agency: 'noaa', rewrapped: 2 }]);

  expect(await payloadOf(kept)).toMatchObject({ run: { payload: { metadata: { remark: 'kept' } } } });
  const local = bench.keyRing({ encryption: localKeyEncryption(testDataKey) });
  expect((await payloadOf(kept, local)).codes).toEqual(['KEY_UNAVAILABLE']);
  await rotateKeys(operator(), 'nasa');
  const runId = await bench.run('nasa', 'people', { metadata: { remark: 'by kms' }, keys: ring() });
  expect(await payloadOf(runId)).toMatchObject({
    run: { status: 'COMPLETED', payload: { metadata: { remark: 'by kms' } } },
  });
});

test('an agency’s wrapped key does not unwrap as another’s', async () => {
  const [own] = await listDataKeys(database.agencyPool('nasa'), 'nasa', 'records');
  const context = { agency: 'noaa', purpose: 'records' as const, version: own!.version };
  const moved = encryption().unwrap({ kekId: own!.kekId!, bytes: own!.wrapped! }, context);
  await expect(moved).rejects.toMatchObject({ code: 'KEY_UNAVAILABLE', message: expect.stringContaining('(422)') });
});

describe('nothing is stored, and all is there again afterwards, when the service', () => {
  const start = `mutation { startRun(input: { pipeline: "people" }) { __typename ... on Error { code message } ... on Run { runId } } }`;
  const runs = async (): Promise<number> =>
    (await database.admin().query<{ n: number }>(sql`select count(*)::int as n from flux.runs`)).rows[0]!.n;

  test.each([
    ['is down', () => kms.stop(), 'UNAVAILABLE', {}],
    ['does not answer in time', () => kms.set('slow'), 'UNAVAILABLE', { timeoutMs: 200 }],
    ['fails', () => kms.set('broken'), 'UNAVAILABLE', {}],
    ['answers without end', () => kms.set('endless'), 'UNAVAILABLE', {}],
    ['shows a certificate of somebody else', () => Promise.resolve(), 'UNAVAILABLE', { caFile: '' }],
    ['has another key under that name', () => kms.restart('others'), 'KEY_UNAVAILABLE', {}],
    ['has revoked the key', () => kms.set('revoked'), 'KEY_UNAVAILABLE', {}],
    ['refuses the token', () => Promise.resolve(), 'KEY_UNAVAILABLE', { token: 'another' }],
  ] as const)(
    '%s',
    async (_name, spoil, code, { caFile, ...more }: { caFile?: string; token?: string; timeoutMs?: number }) => {
      const before = { runs: await runs(), keys: await listDataKeys(database.agencyPool('nasa'), 'nasa') };
      const options = { ...more, ...(caFile === undefined ? {} : { caFile: await otherAuthority() }) };
      await spoil();
      try {
        const { data, errors } = await bench.ask('nasa', start, {}, { keys: ring(options) });
        const told = (data?.['startRun'] as { code?: string } | null)?.code ?? errors?.[0]?.code;
        expect(told).toBe(code);
        expect((await payloadOf(kept, ring(options))).codes).toEqual([code]);
        await expect(rotateKeys(operator(options), 'nasa')).rejects.toMatchObject({ code });
        expect(await runs()).toBe(before.runs);
        expect(await listDataKeys(database.agencyPool('nasa'), 'nasa')).toEqual(before.keys);
      } finally {
        await kms.restart();
      }
      expect(await payloadOf(kept)).toMatchObject({ run: { payload: { metadata: { remark: 'kept' } } } });
    },
  );

  test('wraps what nobody can unwrap', async () => {
    const before = await listDataKeys(database.agencyPool('nasa'), 'nasa');
    await kms.set('rubbish');
    await expect(rotateKeys(operator(), 'nasa')).rejects.toMatchObject({ code: 'KEY_UNAVAILABLE' });
    expect(await listDataKeys(database.agencyPool('nasa'), 'nasa')).toEqual(before);
  });
});

test('a run whose worker finds the service away is tried again, and completes when it is back', async () => {
  const startRun = `mutation { startRun(input: { pipeline: "people" }) { ... on Run { runId } } }`;
  const { data } = await bench.ask('nasa', startRun, {}, { keys: ring() });
  const { runId } = data?.['startRun'] as { runId: string };
  await kms.stop();
  await bench.drain(ring());
  const status = async () =>
    (
      await database.admin().query<{ run: string; partition: string }>(sql`
        select r.status as run, p.status as partition
        from flux.runs r join flux.run_partitions p on p.run_id = r.run_id and p.partition_no = 0
        where r.run_id = ${runId}
      `)
    ).rows[0];
  expect(await status()).toEqual({ run: expect.stringMatching(/^(PENDING|IN_PROGRESS)$/), partition: 'AVAILABLE' });
  await kms.restart();
  await database.admin().query(sql`update flux.run_partitions set available_at = now() where run_id = ${runId}`);
  await bench.drain(ring());
  expect(await status()).toMatchObject({ run: 'COMPLETED' });
});

test('keys come back from the service to FLUX_DATA_KEY', async () => {
  const unwrapOnly = { url: kms.url, token: kms.token, caFile: kms.caFile };
  const back = chooseKeyEncryption({ dataKey: testDataKey, dataKeysBefore: [], kms: unwrapOnly });
  expect((await rewrapKeys({ ...bench.operator, encryption: back })).map(({ agency }) => agency)).toEqual([
    'nasa',
    'noaa',
  ]);
  await kms.stop();
  const local = bench.keyRing({ encryption: localKeyEncryption(testDataKey) });
  expect(await payloadOf(kept, local)).toMatchObject({ run: { payload: { metadata: { remark: 'kept' } } } });
});
