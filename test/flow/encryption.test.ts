/** Encryption at rest, through the whole of a run, as the application's roles: what is kept is sealed, and who may read it can. */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { beforeAll, describe, expect, test } from 'vitest';

import { listDataKeys } from '../../src/db/data-keys.ts';
import { ident, sql } from '../../src/db/sql.ts';
import { inTenant } from '../../src/db/transaction.ts';
import { rewrapKeys, rotateKeys } from '../../src/domain/manage-keys.ts';
import { localKeyEncryption } from '../../src/keys/key-encryption.ts';
import { useDatabase } from '../support/database.ts';
import { testDataKey, useSealedBench } from '../support/encryption.ts';

const database = useDatabase();
const bench = useSealedBench(database, ['nasa', 'noaa']);
const mark = 'FLUX-CANARY-91ab';
const good = 120;

beforeAll(async () => {
  const rows = Array.from({ length: good }, (_, i) => `${String(1900 + i)},${mark} number ${String(i)}`);
  // One record breaks the contract by a value that holds the mark, so that record and reason would show it.
  await bench.addPipeline('nasa', 'people', 'people.csv', `year,note\n${rows.join('\n')}\n${mark},not a year\n`);
});

const runQuery = `query ($id: ID!) { run(id: $id) {
  status dryRun payload
  rejectedRecords(first: 10) { edges { node { recordNo raw reasons { path message } } } }
} }`;

async function view(runId: string, options: Parameters<typeof bench.ask>[3] = {}) {
  const id = Buffer.from(`Run:${runId}`).toString('base64');
  return bench.ask('nasa', runQuery, { id }, options);
}

test('a marked plaintext that a run reads is in the agency’s own lake, and in no file of the store and no table of Flux', async () => {
  const runId = await bench.run('nasa', 'people', { metadata: { remark: `${mark} in the payload` } });
  const { data, errors } = await view(runId);
  expect(errors).toBeUndefined();
  expect(data?.['run']).toMatchObject({
    status: 'COMPLETED',
    dryRun: false,
    payload: { agency: 'nasa', metadata: { remark: `${mark} in the payload` } },
    rejectedRecords: { edges: [{ node: { recordNo: String(good + 1), raw: `${mark},not a year` } }] },
  });
  // The reason repeats the value, so it is sealed with the record.
  expect(JSON.stringify(data)).toContain(`found \\"${mark}`);
  expect(await bench.objectFiles('nasa')).toHaveLength(1);
  expect(await bench.holdersOf(mark)).toEqual([]);
  const { rows } = await database
    .agencyPool('nasa', 'ro')
    .query(sql`select count(*)::int as n from lake_nasa.people where note like ${`${mark}%`}`);
  expect(rows).toEqual([{ n: good }]);
});

test('stages alone, a dry run and the reprocessing of refused records leave the marked plaintext nowhere either', async () => {
  await bench.addPipeline(
    'noaa',
    'staged',
    'staged.csv',
    `year,note\n2001,${mark} one\n${mark},bad\n2003,${mark} two\n`,
  );
  const metadata = { remark: `${mark} in the payload` };
  const runs: string[] = [];
  for (const input of [{ stage: 'INGEST' }, { stage: 'TRANSFORM' }, { stage: 'EXPORT' }, { dryRun: true }, {}]) {
    runs.push(await bench.run('noaa', 'staged', { metadata, input }));
  }
  const reprocess = await bench.ask(
    'noaa',
    `mutation ($id: ID!) { reprocessRejected(input: { runId: $id, reason: "again" }) { ... on Run { runId } ... on Error { message } } }`,
    { id: Buffer.from(`Run:${runs.at(-1) ?? ''}`).toString('base64') },
  );
  runs.push((reprocess.data?.['reprocessRejected'] as { runId: string }).runId);
  await bench.drain(bench.keyRing());
  const { rows } = await database.admin().query<{ status: string }>(sql`
    select distinct status from flux.runs where run_id = any (${runs}::uuid[])
  `);
  expect(rows).toEqual([{ status: 'COMPLETED' }]);
  const { rows: parts } = await database
    .admin()
    .query(sql`select distinct key_version from flux.run_parts where agency_id = 'noaa'`);
  expect(parts).toEqual([{ key_version: 1 }]);
  expect(await bench.holdersOf(mark)).toEqual([]);
  const { rows: landed } = await database
    .agencyPool('noaa', 'ro')
    .query(sql`select count(*)::int as n from lake_noaa.staged where note like ${`${mark}%`}`);
  expect(landed).toEqual([{ n: 2 }]);
});

test('a run that the first refused record fails does not repeat the record in its failure, events or audit entries', async () => {
  await bench.addPipeline(
    'nasa',
    'strict',
    'strict.csv',
    `year,note\n${mark},not a year\n${'2001,fine\n'.repeat(120)}`,
    {
      contract: { onViolation: 'fail' },
    },
  );
  const runId = await bench.run('nasa', 'strict');
  const { rows } = await database
    .admin()
    .query(sql`select failure_code, failure_message from flux.runs where run_id = ${runId}`);
  expect(rows).toEqual([
    { failure_code: 'CONTRACT_VIOLATED', failure_message: expect.stringContaining('Record 1 broke contract person 1') },
  ]);
  expect(await bench.holdersOf(mark)).toEqual([]);
});

test('who may see the run but not its data gets neither payload nor records', async () => {
  const runId = await bench.run('nasa', 'people');
  const { data, errors } = await view(runId, { role: 'viewer' });
  expect(data?.['run']).toMatchObject({ status: 'COMPLETED', dryRun: false, payload: null, rejectedRecords: null });
  expect(errors?.map(({ code }) => code)).toEqual(['FORBIDDEN', 'FORBIDDEN']);
});

describe('the wrapped keys', () => {
  test('show to an agency’s worker login its own, to the API the records keys of its tenant, to others none', async () => {
    const purposes = async (list: Promise<Awaited<ReturnType<typeof listDataKeys>>>): Promise<string[]> =>
      (await list).map(({ purpose, version }) => `${purpose} ${String(version)}`);
    const own = database.agencyPool('nasa');
    expect(await purposes(listDataKeys(own, 'nasa'))).toEqual(['objects 1', 'records 1']);
    expect(await purposes(listDataKeys(own, 'noaa'))).toEqual([]);
    const asApi = (agency: string) =>
      inTenant(database.apiPool(), database.tenant('nasa', { role: 'admin', clearance: 5 }), (tx) =>
        purposes(listDataKeys(tx, agency)),
      );
    expect(await asApi('nasa')).toEqual(['records 1']);
    expect(await asApi('noaa')).toEqual([]);
    for (const pool of [database.agencyPool('nasa', 'ro'), database.workerPool()]) {
      await expect(pool.query(sql`select from flux.data_keys`)).rejects.toMatchObject({ code: '42501' });
    }
    for (const pool of [own, database.apiPool()]) {
      await expect(pool.query(sql`delete from flux.data_keys`)).rejects.toMatchObject({ code: '42501' });
      await expect(pool.query(sql`update flux.data_keys set version = 9`)).rejects.toMatchObject({ code: '42501' });
    }
  });

  test('of one agency do not unwrap in another’s row', async () => {
    await database.admin().query(sql`create temporary table kept as select * from flux.data_keys`);
    const swapped = await database.admin().withConnection(async (admin) => {
      await admin.query(sql`begin`);
      await admin.query(sql`
        update flux.data_keys d set wrapped = o.wrapped
        from flux.data_keys o where d.agency_id = 'noaa' and o.agency_id = 'nasa' and o.purpose = d.purpose
      `);
      const failure = await bench
        .keyRing()
        .newest(admin, 'noaa', 'records')
        .catch((cause: unknown) => cause);
      await admin.query(sql`rollback`);
      return failure;
    });
    expect(swapped).toMatchObject({ code: 'KEY_UNAVAILABLE' });
  });
});

describe('keys turn in place', () => {
  test('after a rotation old runs read as before, and new content is under the new keys', async () => {
    const before = await bench.run('nasa', 'people', { metadata: { remark: 'old' } });
    const states = await rotateKeys(bench.operator, 'nasa');
    const newest = Math.max(...states.map(({ version }) => version));
    expect(newest).toBeGreaterThan(1);
    const after = await bench.run('nasa', 'people', { metadata: { remark: 'new' } });
    for (const [runId, remark] of [
      [before, 'old'],
      [after, 'new'],
    ] as const) {
      const { data } = await view(runId);
      expect(data?.['run']).toMatchObject({
        payload: { metadata: { remark } },
        rejectedRecords: { edges: [{ node: { raw: `${mark},not a year` } }] },
      });
    }
    const { rows } = await database.admin().query<{ version: number }>(sql`
      select key_version as version from flux.source_objects where run_id in (${before}, ${after}) order by key_version
    `);
    expect(rows.map(({ version }) => version)).toEqual([newest - 1, newest]);
    const rerun = await bench.ask(
      'nasa',
      `mutation ($id: ID!) { rerunRun(input: { runId: $id }) { __typename ... on Run { payload } ... on Error { message } } }`,
      { id: Buffer.from(`Run:${before}`).toString('base64') },
    );
    expect(rerun.data?.['rerunRun']).toMatchObject({ payload: { metadata: { remark: 'old' } } });
  });

  test('another key encryption key needs the old one, until it has rewrapped all', async () => {
    const runId = await bench.run('nasa', 'people', { metadata: { remark: 'kept' } });
    const next = Buffer.alloc(32, 0x6b);
    const alone = await view(runId, { keys: bench.keyRing({ encryption: localKeyEncryption(next) }) });
    expect(alone.errors?.map(({ code }) => code)).toContain('KEY_UNAVAILABLE');
    const both = localKeyEncryption(next, [testDataKey]);
    const done = await rewrapKeys({ ...bench.operator, encryption: both });
    expect(done.map(({ agency }) => agency).sort()).toEqual(['nasa', 'noaa']);
    expect(await rewrapKeys({ ...bench.operator, encryption: both })).toEqual([]);
    const { data } = await view(runId, { keys: bench.keyRing({ encryption: localKeyEncryption(next) }) });
    expect(data?.['run']).toMatchObject({ payload: { metadata: { remark: 'kept' } } });
    await rewrapKeys({ ...bench.operator, encryption: localKeyEncryption(testDataKey, [next]) });
  });
});

describe('tampering at rest is told', () => {
  test('a pinned object whose file was changed fails the run with OBJECT_CORRUPTED', async () => {
    const runId = await bench.run('nasa', 'people');
    const { rows } = await database
      .admin()
      .query<{ address: string }>(sql`select address from flux.source_objects where run_id = ${runId}`);
    const [agency = '', digest = ''] = rows[0]!.address.split('/');
    const file = path.join(bench.objects, agency, digest.slice(0, 2), digest);
    const whole = await readFile(file);
    const changed = Buffer.from(whole);
    changed[changed.length - 20]! ^= 1;
    await writeFile(file, changed);
    // A rerun reads the very bytes that the first run has pinned.
    const query = `mutation ($id: ID!) { rerunRun(input: { runId: $id }) { ... on Run { runId } } }`;
    const again = await bench.ask('nasa', query, { id: Buffer.from(`Run:${runId}`).toString('base64') });
    const rerun = (again.data?.['rerunRun'] as { runId: string }).runId;
    await bench.run('nasa', 'people').catch(() => undefined);
    const { rows: ended } = await database
      .admin()
      .query(sql`select status, failure_code from flux.runs where run_id = ${rerun}`);
    expect(ended).toEqual([{ status: 'FAILED', failure_code: 'OBJECT_CORRUPTED' }]);
    await writeFile(file, whole);
  });

  test.each([
    ['a payload of another run', 'runs', 'payload_sealed'],
    ['a record of another run’s source', 'rejected_records', 'sealed'],
  ] as const)('%s', async (_name, table, column) => {
    const [one, two] = [await bench.run('nasa', 'people'), await bench.run('nasa', 'people')];
    // Another source: its record 121 is not this one's.
    await bench.addPipeline('noaa', 'people', 'people.csv', `year,note\n${mark},x\n`);
    await database.admin().query(sql`
      update flux.${ident(table)} t set ${ident(column)} = ${
        column === 'sealed' ? sql`set_byte(t.sealed, 30, get_byte(t.sealed, 30) # 1)` : sql`o.payload_sealed`
      }
      from flux.runs o where t.run_id = ${one} and o.run_id = ${two}
    `);
    const { errors } = await view(one);
    expect(errors?.map(({ code }) => code)).toContain('OBJECT_CORRUPTED');
  });
});
