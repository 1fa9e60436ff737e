/** `flux keys`, `flux issuers` and `flux agencies remove` as their operator runs them: processes with an admin's URL. */
import { readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { beforeAll, expect, test } from 'vitest';

import { publicKeyOf } from '../../src/audit/signed-note.ts';
import { sql } from '../../src/db/sql.ts';
import { auditBodies, testAuditKey } from '../support/audit.ts';
import { useDatabase } from '../support/database.ts';
import { testDataKey, useSealedBench } from '../support/encryption.ts';
import { type Ended, eventually, flux, startFlux } from '../support/flux.ts';
import { createTestIssuer } from '../support/tokens.ts';

const database = useDatabase();
const bench = useSealedBench(database, ['nasa', 'noaa']);
const mark = 'FLUX-CANARY-c11a';

const options = (more: Record<string, string> = {}) => ({
  home: path.join(bench.folder, 'home'),
  env: {
    DATABASE_URL: database.adminUrl,
    FLUX_CONTEXT_KEY: database.contextKey.toString('hex'),
    FLUX_DATA_KEY: testDataKey.toString('hex'),
    FLUX_OBJECT_STORE: `file:${bench.objects}`,
    ...more,
  },
});
const run = (args: string, more: Record<string, string> = {}): Promise<Ended> => flux(args.split(' '), options(more));
const json = async (args: string, more: Record<string, string> = {}): Promise<unknown> => {
  const { code, stdout, stderr } = await run(`${args} --json`, more);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  return JSON.parse(stdout);
};

beforeAll(async () => {
  for (const agency of ['nasa', 'noaa']) {
    await bench.addPipeline(agency, 'people', 'people.csv', `year,note\n2001,${mark}\n${mark},bad\n`);
    await bench.run(agency, 'people', { metadata: { remark: mark } });
  }
});

test('flux keys lists, makes, turns, re-encrypts, rewraps and retires, and says why it does not', async () => {
  expect(await json('keys list')).toMatchObject([
    { agency: 'nasa', purpose: 'objects', version: 1, destroyedAt: null },
    { agency: 'nasa', purpose: 'records', version: 1 },
    { agency: 'noaa', purpose: 'objects', version: 1 },
    { agency: 'noaa', purpose: 'records', version: 1 },
  ]);
  expect(await run('keys ensure')).toMatchObject({ code: 0, stdout: 'Every agency has its data keys.\n' });
  const [unknown, tooEarly] = await Promise.all([
    run('keys rotate --agency nowhere'),
    run('keys retire nasa --reason leaked').then(() => run('keys rotate --agency nasa --json')),
  ]);
  expect(unknown).toMatchObject({ code: 1, stderr: expect.stringContaining('There is no agency nowhere') });
  expect(JSON.parse(tooEarly.stdout)).toHaveLength(4);
  expect(await run('keys retire nasa --reason leaked')).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/RUN_CONFLICT.*so new/s),
  });
  expect(await run('keys reencrypt nasa')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('under the newest keys now 1 objects, 1 payloads, 1 refused records'),
  });
  const next = { FLUX_DATA_KEY: 'ab'.repeat(32), FLUX_DATA_KEY_PREVIOUS: testDataKey.toString('hex') };
  expect(await run('keys rewrap', { FLUX_DATA_KEY: 'ab'.repeat(32) })).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('FLUX_DATA_KEY_PREVIOUS'),
  });
  expect(await run('keys rewrap', next)).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('nasa: 4 data keys'),
  });
  const back = { FLUX_DATA_KEY_PREVIOUS: next.FLUX_DATA_KEY };
  expect(await json('keys rewrap', back)).toEqual({
    agencies: [
      { agency: 'nasa', rewrapped: 4 },
      { agency: 'noaa', rewrapped: 2 },
    ],
  });
  expect((await auditBodies(database, 'nasa')).map(({ action }) => action)).toEqual(
    expect.arrayContaining(['keys.rotate', 'keys.reencrypt', 'keys.rewrap']),
  );
});

test('flux issuers adds, lists and removes for agencies', async () => {
  const { issuer, jwks } = await createTestIssuer('https://id.example.gov');
  const file = path.join(bench.folder, 'jwks.json');
  await writeFile(file, JSON.stringify(jwks));
  const bad = await Promise.all([
    flux(['issuers', 'add', issuer, '--agencies', 'nowhere', '--jwks', file], options()),
    flux(['issuers', 'add', issuer, '--agencies', 'NASA', '--jwks', file], options()),
    flux(['issuers', 'remove', issuer], options()),
  ]);
  expect(bad.map(({ code }) => code)).toEqual([1, 2, 1]);
  const added = await flux(['issuers', 'add', issuer, '--agencies', 'nasa,noaa', '--jwks', file, '--json'], options());
  expect(JSON.parse(added.stdout)).toMatchObject([
    { agency: 'nasa', issuer, keys: 1 },
    { agency: 'noaa', issuer, keys: 1 },
  ]);
  expect(await json(`issuers remove ${issuer} --agencies nasa`)).toEqual({ issuer, agencies: ['nasa'] });
  expect(await json('issuers list')).toMatchObject([{ agency: 'noaa', issuer }]);
  expect(await run(`issuers remove ${issuer}`)).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('noaa no more'),
  });
});

test('flux agencies remove that was killed midway is done by asking again, and says what it tried', async () => {
  const args = ['agencies', 'remove', 'nasa', '--reason', 'contract ended', '--confirm'];
  expect(await flux([...args, 'noaa'], options())).toMatchObject({ code: 2 });
  // The first drop of the lake waits for a reader, so that the command is killed between the keys' end and the lake's.
  await database.admin().withConnection(async (reader) => {
    await reader.query(sql`begin`);
    await reader.query(sql`select from lake_nasa.people`);
    const removing = startFlux([...args, 'nasa'], options());
    await eventually(
      async () =>
        (
          await database
            .admin()
            .query(sql`select from pg_stat_activity where wait_event_type = 'Lock' and query like 'drop table%'`)
        ).rowCount,
      (waiting) => waiting === 1,
      60_000,
    );
    removing.kill('SIGKILL');
    await removing.ended;
    await reader.query(sql`rollback`);
  });
  const { rows } = await database.admin().query(sql`
    select
      (select count(*)::int from flux.data_keys where agency_id = 'nasa' and wrapped is not null) as keys,
      (select count(*)::int from pg_namespace where nspname = 'lake_nasa') as lakes
  `);
  expect(rows).toEqual([{ keys: 0, lakes: 1 }]);
  expect(await bench.objectFiles('nasa')).not.toEqual([]);

  const done = await flux([...args, 'nasa', '--json'], options());
  expect(done).toMatchObject({ code: 0, stderr: '' });
  const told = JSON.parse(done.stdout) as { objects: { found: number; opened: number; removed: number } };
  expect(told).toMatchObject({
    agency: 'nasa',
    keysDestroyed: 0,
    rolesDropped: 2,
    rows: { tried: 2, unreadable: true },
  });
  expect(told.objects).toMatchObject({ opened: 0, removed: told.objects.found });
  expect(await bench.objectFiles('nasa')).toEqual([]);
  expect(await bench.objectFiles('noaa')).not.toEqual([]);
  expect((await auditBodies(database, 'nasa')).filter(({ action }) => action === 'agency.remove.done')).toHaveLength(1);
  // Nothing is left to try, and it says so.
  expect(await flux([...args, 'nasa'], options())).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/data keys destroyed +0\n.*objects +0 tried/s),
  });
  expect(await readdir(path.join(bench.objects, 'partial')).catch(() => [])).toEqual([]);
});

test('flux audit key prints what the log’s signatures are verified with, and nothing that signs', async () => {
  const secret = testAuditKey.toString('hex');
  const { code, stdout } = await run('audit key', { FLUX_AUDIT_KEY: secret });
  expect([code, stdout]).toEqual([0, `${publicKeyOf(testAuditKey).toString('hex')}\n`]);
  expect(stdout).not.toContain(secret);
});
