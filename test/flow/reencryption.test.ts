/** An old version of an agency's keys goes out of use: everything moves under the newest, and the old one is destroyed. */
import { readFile } from 'node:fs/promises';

import { beforeAll, expect, test } from 'vitest';

import { deriveKey, sealBox } from '../../src/crypto/aead.ts';
import { sql } from '../../src/db/sql.ts';
import { inTenant } from '../../src/db/transaction.ts';
import { rotateKeys } from '../../src/domain/manage-keys.ts';
import { registerConnection } from '../../src/domain/register-connection.ts';
import { type Reencrypted, type Reencryption, reencryptAgency } from '../../src/domain/reencrypt-agency.ts';
import { retireKeys } from '../../src/domain/retire-keys.ts';
import { openWebhookSecret } from '../../src/domain/webhook-secret.ts';
import { toFluxError } from '../../src/errors.ts';
import { openConnectionSecret } from '../../src/keys/sealed-records.ts';
import { agencyObjects } from '../../src/objects/agency-objects.ts';
import { createFileStore } from '../../src/objects/file-store.ts';
import { apiDeps, contextOf } from '../support/api.ts';
import { auditBodies } from '../support/audit.ts';
import { useDatabase } from '../support/database.ts';
import { testDataKey, useSealedBench } from '../support/encryption.ts';

const database = useDatabase();
const bench = useSealedBench(database, ['nasa', 'noaa']);
const mark = 'FLUX-CANARY-77d2';
const rows = Array.from({ length: 120 }, (_each, i) => `${String(1900 + i)},${mark} ${String(i)}`).join('\n');
const source = `year,note\n${rows}\n${mark},bad\n${mark},worse\n`;
const secret = Buffer.alloc(32, 0x11);
const connectionWithSecret = {
  name: 'stations-api',
  kind: 'https',
  config: { baseUrl: 'https://data.example.gov/' },
  secret: { headers: { Authorization: `Bearer ${mark}` } },
};
const webhookId = '01890000-0000-7000-8000-000000000001';
const runs: Record<'full' | 'plain' | 'staged' | 'other', string> = { full: '', plain: '', staged: '', other: '' };

const objects = () => agencyObjects(createFileStore({ folder: bench.objects, dataKey: testDataKey }));
const reencrypt = (more: Partial<Reencryption> = {}, store = objects()): Promise<Reencrypted> =>
  reencryptAgency(bench.operator, store, { agency: 'nasa', plain: true, dataKeys: [testDataKey], ...more });
const retire = (options: { keptMs?: number } = { keptMs: 0 }) =>
  retireKeys(bench.operator, 'nasa', { reason: 'version 1 may have leaked', ...options });

/** Versions that seal something of nasa, by where it is; null is plain. */
async function versionsInUse(): Promise<Record<string, (number | null)[]>> {
  const { rows: found } = await database.admin().query<{ place: string; version: number | null }>(sql`
    select distinct place, version from (
      select 'objects' as place, key_version as version from flux.source_objects where agency_id = 'nasa'
      union all select 'parts', key_version from flux.run_parts where agency_id = 'nasa'
      union all select 'payloads', get_byte(payload_sealed, 4) from flux.runs where agency_id = 'nasa'
      union all select 'records', get_byte(sealed, 4) from flux.rejected_records where agency_id = 'nasa'
      union all select 'connections', get_byte(secret, 4) from flux.connections where agency_id = 'nasa' and secret is not null
      union all select 'secrets', case when length(secret) <> 60 then get_byte(secret, 4) end from flux.webhooks where agency_id = 'nasa'
    ) v order by 1, 2
  `);
  const places: Record<string, (number | null)[]> = {};
  for (const { place, version } of found) (places[place] ??= []).push(version);
  return places;
}

async function contentOf(agency: string, runId: string): Promise<unknown> {
  const query = `query ($id: ID!) { run(id: $id) { status payload rejectedRecords(first: 10) { edges { node { recordNo raw } } } } }`;
  const { data, errors } = await bench.ask(agency, query, { id: Buffer.from(`Run:${runId}`).toString('base64') });
  expect(errors).toBeUndefined();
  return data?.['run'];
}

beforeAll(async () => {
  await bench.addPipeline('nasa', 'people', 'people.csv', source);
  await bench.addPipeline('noaa', 'people', 'people.csv', source);
  runs.full = await bench.run('nasa', 'people', { metadata: { remark: 'sealed' } });
  runs.plain = await bench.run('nasa', 'people', {
    metadata: { remark: 'plain' },
    keys: bench.keyRing({ seals: false }),
  });
  runs.staged = await bench.run('nasa', 'people', { input: { stage: 'INGEST' } });
  runs.other = await bench.run('noaa', 'people', { metadata: { remark: 'sealed' } });
  // As secrets were sealed before they came under the agency's keys.
  const key = deriveKey(testDataKey, Buffer.from('nasa'), 'flux webhook secret');
  await inTenant(database.apiPool(), database.tenant('nasa', { role: 'admin' }), (tx) =>
    tx.query(sql`
      insert into flux.webhooks (agency_id, webhook_id, url, types, clearance, secret, created_by)
      values ('nasa', ${webhookId}, 'https://example.gov/hook', array['gov.flux.run.failed'], 0,
        ${sealBox(key, secret, Buffer.from(`nasa\0${webhookId}`))}::bytea, 'test')
    `),
  );
  const caller = contextOf(database, 'nasa', { role: 'admin', api: apiDeps(database, { keys: bench.keyRing() }) });
  await registerConnection(caller.api, caller, {
    definition: connectionWithSecret,
    reason: null,
    idempotencyKey: null,
  });
});

test('everything moves under the newest keys, through every kind of interruption, and reads as before', async () => {
  const before = { full: await contentOf('nasa', runs.full), plain: await contentOf('nasa', runs.plain) };
  await rotateKeys(bench.operator, 'nasa');
  await expect(retire()).rejects.toMatchObject({
    code: 'RUN_CONFLICT',
    message: expect.stringMatching(/seal [1-9]\d* objects, [1-9]\d* payloads, [1-9]\d* refused records/),
  });
  expect(await versionsInUse()).toEqual({
    connections: [1],
    objects: [1, null],
    parts: [1],
    payloads: [1, null],
    records: [1, null],
    secrets: [null],
  });

  // Killed after the bytes of the first object are stored, and before any row names them.
  const cut: ReturnType<typeof objects> = {
    ...objects(),
    async reseal(...args) {
      await objects().reseal(...args);
      throw new Error('killed');
    },
  };
  await expect(reencrypt({}, cut)).rejects.toThrow('killed');
  expect(await versionsInUse()).toMatchObject({ objects: [1, null] });
  // Killed after each of its first batches, of one object or row.
  for (const stopAfter of [1, 3]) {
    let batches = 0;
    const stop = (): void => {
      batches += 1;
      if (batches === stopAfter) throw new Error('killed');
    };
    await expect(reencrypt({ onBatch: stop, batch: { objects: 1, rows: 1 } })).rejects.toThrow('killed');
  }
  // Asked to stop, it ends after the batch at hand, and says what is left.
  const stopping = new AbortController();
  const asked = await reencrypt({ signal: stopping.signal, onBatch: () => stopping.abort(), batch: { rows: 1 } });
  expect(asked.left.payloads + asked.left.records).toBeGreaterThan(0);

  // Beside a run that goes on meanwhile.
  const [during] = await Promise.all([
    bench.run('nasa', 'people', { metadata: { remark: 'meanwhile' } }),
    reencrypt({ batch: { objects: 1, rows: 1 }, onBatch: () => undefined }),
  ]);
  expect(await contentOf('nasa', during)).toMatchObject({
    status: 'COMPLETED',
    payload: { metadata: { remark: 'meanwhile' } },
  });
  // Once more under another version, so that there is something left to hold.
  await rotateKeys(bench.operator, 'nasa');
  // A record that somebody works on is passed over, and counted.
  const held = await database.admin().withConnection(async (connection) => {
    await connection.query(sql`begin`);
    await connection.query(sql`
      select from flux.rejected_records where run_id = ${runs.full} and record_no = 121 for update
    `);
    const done = await reencrypt({ batch: { rows: 2 } });
    await connection.query(sql`rollback`);
    return done;
  });
  expect(held).toMatchObject({ left: { objects: 0, payloads: 0, records: 1, secrets: 0 }, unreadable: [] });
  await expect(retire()).rejects.toMatchObject({ code: 'RUN_CONFLICT' });

  expect(await reencrypt()).toMatchObject({ moved: { objects: 0, records: 1 }, left: { records: 0 }, unreadable: [] });
  expect(await reencrypt()).toMatchObject({ moved: { objects: 0, payloads: 0, records: 0, secrets: 0 } });
  expect(await versionsInUse()).toEqual({
    connections: [3],
    objects: [3],
    parts: [3],
    payloads: [3],
    records: [3],
    secrets: [3],
  });
  expect(await contentOf('nasa', runs.full)).toEqual(before.full);
  expect(await contentOf('nasa', runs.plain)).toEqual(before.plain);
});

test('an old version is destroyed once nothing is under it, and all goes on without it', async () => {
  await expect(retire({ keptMs: 3_600_000 })).rejects.toMatchObject({
    code: 'RUN_CONFLICT',
    message: expect.stringContaining('so new'),
  });
  // What began before the objects moved may know them by their old places.
  const executing = (status: 'EXECUTING' | 'COMPLETED') => sql`
    update flux.run_partitions set status = ${status},
      leased_by = ${status === 'EXECUTING' ? 'slow' : null}, lease_expires_at = ${status === 'EXECUTING' ? new Date() : null}
    where run_id = ${runs.full} and partition_no = 0
  `;
  await database.admin().query(executing('EXECUTING'));
  await expect(retire()).rejects.toMatchObject({ code: 'RUN_CONFLICT', message: expect.stringContaining('at work') });
  await database.admin().query(executing('COMPLETED'));

  // Somebody has stored something sealed and not yet committed: whether it is under the old version cannot be known.
  await database.agencyPool('nasa').withConnection(async (writer) => {
    await writer.query(sql`begin`);
    await writer.query(sql`
      insert into flux.rejected_records (agency_id, run_id, partition_no, record_no, reasons, sealed)
      select agency_id, run_id, partition_no, record_no + 500, reasons, set_byte(sealed, 4, 1)
      from flux.rejected_records where run_id = ${runs.full}
    `);
    await expect(retire()).rejects.toMatchObject({ code: '55P03' });
    await writer.query(sql`rollback`);
  });
  expect(await retire()).toEqual({
    agency: 'nasa',
    versions: expect.arrayContaining([
      { purpose: 'objects', version: 1 },
      { purpose: 'records', version: 1 },
      { purpose: 'objects', version: 2 },
      { purpose: 'records', version: 2 },
    ]),
  });
  expect(await retire()).toEqual({ agency: 'nasa', versions: [] });
  expect(await contentOf('nasa', runs.full)).toMatchObject({ payload: { metadata: { remark: 'sealed' } } });
  const {
    rows: [webhook],
  } = await database
    .admin()
    .query<{ secret: Buffer }>(sql`select secret from flux.webhooks where webhook_id = ${webhookId}`);
  // Without FLUX_DATA_KEY itself: the agency's key opens it.
  const opener = { keys: bench.keyRing(), db: database.admin(), dataKeys: [] };
  expect(await openWebhookSecret(opener, { agency: 'nasa', webhookId }, webhook!.secret)).toEqual(secret);
  const {
    rows: [connection],
  } = await database
    .admin()
    .query<{ secret: Buffer }>(
      sql`select secret from flux.connections where agency_id = 'nasa' and secret is not null`,
    );
  const { name, kind, secret: credentials } = connectionWithSecret;
  const place = { agency: 'nasa', connection: name, kind };
  expect(await openConnectionSecret(opener, place, connection!.secret)).toEqual(credentials);
  // The next stage reads the parts, a rerun the pinned source, under the new key.
  const transformed = await bench.run('nasa', 'people', { input: { stage: 'TRANSFORM' } });
  expect(await contentOf('nasa', transformed)).toMatchObject({ status: 'COMPLETED' });
  const rerun = await bench.ask(
    'nasa',
    `mutation ($id: ID!) { rerunRun(input: { runId: $id }) { ... on Run { runId } ... on Error { message } } }`,
    { id: Buffer.from(`Run:${runs.full}`).toString('base64') },
  );
  await bench.run('nasa', 'people');
  expect(await contentOf('nasa', (rerun.data?.['rerunRun'] as { runId: string }).runId)).toMatchObject({
    status: 'COMPLETED',
  });
  const actions = (await auditBodies(database, 'nasa')).map(({ action }) => action);
  expect(actions).toEqual(expect.arrayContaining(['keys.rotate', 'keys.reencrypt', 'keys.retire']));
  expect(await contentOf('noaa', runs.other)).toMatchObject({ payload: { metadata: { remark: 'sealed' } } });
});

test('a write that comes late with a destroyed version is refused, and is worth another try', async () => {
  const late = {
    source: sql`update flux.source_objects set key_version = 1 where run_id = ${runs.full}`,
    part: sql`update flux.run_parts set key_version = 1 where run_id = ${runs.staged}`,
    payload: sql`update flux.runs set payload_sealed = set_byte(payload_sealed, 4, 1) where run_id = ${runs.full}`,
    records: sql`update flux.rejected_records set sealed = set_byte(sealed, 4, 1) where run_id = ${runs.full}`,
    copied: sql`
      insert into flux.rejected_records (agency_id, run_id, partition_no, record_no, reasons, sealed)
      select agency_id, run_id, partition_no, record_no + 1000, reasons, set_byte(sealed, 4, 1)
      from flux.rejected_records where run_id = ${runs.full}
    `,
    connection: sql`update flux.connections set secret = set_byte(secret, 4, 1) where agency_id = 'nasa' and secret is not null`,
    secret: sql`update flux.webhooks set secret = set_byte(secret, 4, 1) where webhook_id = ${webhookId}`,
  };
  for (const [what, statement] of Object.entries(late)) {
    const failure: unknown = await database
      .admin()
      .query(statement)
      .catch((cause: unknown) => cause);
    expect.soft(toFluxError(failure), what).toMatchObject({ code: 'UNAVAILABLE', retryable: true });
  }
});

test('what does not open is told and left as it is, and holds nothing else back', async () => {
  const {
    rows: [one],
  } = await database
    .admin()
    .query<{ address: string }>(sql`select address from flux.source_objects where run_id = ${runs.full}`);
  const file = createFileStore({ folder: bench.objects, dataKey: testDataKey }).pathOf(one!.address);
  await database.admin().query(sql`
    update flux.runs set payload_sealed = set_byte(payload_sealed, 30, get_byte(payload_sealed, 30) # 1) where run_id = ${runs.staged}
  `);
  const whole = await readFile(file);
  await rotateKeys(bench.operator, 'nasa');
  const broken: ReturnType<typeof objects> = {
    ...objects(),
    reseal: (object, keys) =>
      objects().reseal(object.address === one!.address ? { ...object, sha256: '00' } : object, keys),
  };
  const done = await reencrypt({}, broken);
  expect(done.left).toMatchObject({ objects: 1, payloads: 1, records: 0, secrets: 0 });
  expect(done.unreadable).toEqual([
    { what: `object ${one!.address}`, code: 'OBJECT_CORRUPTED' },
    { what: `payload of run ${runs.staged}`, code: 'OBJECT_CORRUPTED' },
  ]);
  expect(await readFile(file)).toEqual(whole);
  await expect(retire()).rejects.toMatchObject({ code: 'RUN_CONFLICT' });
});
