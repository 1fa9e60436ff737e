/** An agency that leaves: what is left of it is unreadable, its evidence stays, and nobody else notices. */
import { cp, readdir } from 'node:fs/promises';
import path from 'node:path';

import { expect, test } from 'vitest';

import { sql } from '../../src/db/sql.ts';
import { inTenant } from '../../src/db/transaction.ts';
import { offBoardAgency, type OffBoarded } from '../../src/domain/off-board-agency.ts';
import { agencyObjects } from '../../src/objects/agency-objects.ts';
import { createFileStore } from '../../src/objects/file-store.ts';
import { auditBodies } from '../support/audit.ts';
import { useDatabase } from '../support/database.ts';
import { testDataKey, useSealedBench } from '../support/encryption.ts';

const database = useDatabase();
const bench = useSealedBench(database, ['nasa', 'noaa']);
const mark = 'FLUX-CANARY-44c0';

const objects = () => agencyObjects(createFileStore({ folder: bench.objects, dataKey: testDataKey }));

const remove = (agency: string, reason = 'contract ended'): Promise<OffBoarded> =>
  offBoardAgency(bench.operator, objects(), { agency, reason });

async function agencyOf(slug: string): Promise<unknown[]> {
  const { rows } = await database.admin().query(sql`
    select
      (select count(*)::int from pg_namespace where nspname = 'lake_' || ${slug}::text) as lakes,
      (select count(*)::int from pg_roles where rolname in (${database.agencyRole(slug)}, ${database.agencyRole(slug, 'ro')})) as roles,
      (select count(*)::int from flux.data_keys where agency_id = ${slug} and wrapped is not null) as keys
  `);
  return rows;
}

test('off-boarding shreds, drops and proves it, refuses under a legal hold, and leaves another agency as it was', async () => {
  for (const agency of ['nasa', 'noaa']) {
    await bench.addPipeline(agency, 'people', 'people.csv', `year,note\n2001,${mark}\n${mark},bad\n`);
  }
  const leaving = await bench.run('nasa', 'people', { metadata: { remark: mark } });
  const staying = await bench.run('noaa', 'people', { metadata: { remark: mark } });
  // While sealing was off, or before there were keys, things were kept plain.
  const plain = await bench.run('nasa', 'people', {
    metadata: { remark: `${mark} plain` },
    keys: bench.keyRing({ seals: false }),
  });
  expect(await bench.holdersOf(mark)).not.toEqual([]);
  const copy = path.join(bench.folder, 'copy of the store');
  await cp(bench.objects, copy, { recursive: true });

  await expect(remove('nasa', ' ')).rejects.toMatchObject({ code: 'INVALID_INPUT' });
  await expect(remove('nowhere')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  const hold = (on: boolean) =>
    inTenant(database.apiPool(), database.tenant('nasa', { role: 'admin' }), (tx) =>
      tx.query(sql`
        update flux.agencies set legal_hold_since = ${on ? new Date() : null}, legal_hold_by = ${on ? 'counsel' : null},
          legal_hold_reason = ${on ? 'case 7' : null}
        where agency_id = 'nasa'
      `),
    );
  await hold(true);
  await expect(remove('nasa')).rejects.toMatchObject({
    code: 'INVALID_INPUT',
    message: expect.stringContaining('case 7'),
  });
  expect(await agencyOf('nasa')).toEqual([{ lakes: 1, roles: 2, keys: 2 }]);
  await hold(false);

  const done = await remove('nasa');
  expect(done).toMatchObject({
    agency: 'nasa',
    keysDestroyed: 2,
    rolesDropped: 2,
    objects: { found: 2, unreadable: 1, plain: 1, opened: 0, removed: 2 },
    rows: { tried: 2, unreadable: true },
  });
  expect(done.rows.sealedPayloads).toBeGreaterThan(0);
  expect(done.rows.plainRemoved).toBeGreaterThan(0);
  expect(done.residue.join(' ')).toMatch(/audit entries.*WAL.*backups/s);
  expect(await agencyOf('nasa')).toEqual([{ lakes: 0, roles: 0, keys: 0 }]);
  expect(await bench.objectFiles('nasa')).toEqual([]);

  // Nothing opens any more, not even with a copy of the store and the key encryption key.
  const stolen = agencyObjects(createFileStore({ folder: copy, dataKey: testDataKey }));
  const ring = bench.keyRing();
  let unreadable = 0;
  for await (const address of stolen.addresses('nasa')) {
    const opened = stolen.tryOpen(address, (version) => ring.ofVersion(database.admin(), 'nasa', 'objects', version));
    if ((await opened.catch((cause: { code?: string }) => cause.code)) === 'KEY_UNAVAILABLE') unreadable += 1;
  }
  expect(unreadable).toBe(1);
  expect((await readdir(path.join(copy, 'nasa'))).length).toBeGreaterThan(0);
  for (const id of [leaving, plain]) {
    const { rows } = await database.admin().query<{ shown: string }>(sql`
      select concat(r::text, (select string_agg(j::text, '') from flux.rejected_records j where j.run_id = r.run_id)) as shown
      from flux.runs r where r.run_id = ${id}
    `);
    expect(rows[0]?.shown).not.toContain(mark);
  }
  const actions = (await auditBodies(database, 'nasa')).map((body) => [body['action'], body['reason']]);
  expect(actions).toEqual(
    expect.arrayContaining([
      ['agency.remove', 'contract ended'],
      ['agency.remove.done', 'contract ended'],
    ]),
  );

  // The other agency: logins, lake, objects, payload and records are what they were.
  expect(await agencyOf('noaa')).toEqual([{ lakes: 1, roles: 2, keys: 2 }]);
  const { data, errors } = await bench.ask(
    'noaa',
    `query ($id: ID!) { run(id: $id) { payload rejectedRecords { edges { node { raw } } } } }`,
    { id: Buffer.from(`Run:${staying}`).toString('base64') },
  );
  expect(errors).toBeUndefined();
  expect(data?.['run']).toMatchObject({
    payload: { metadata: { remark: mark } },
    rejectedRecords: { edges: [{ node: { raw: `${mark},bad` } }] },
  });
  await bench.run('noaa', 'people');

  // Asked again it finds nothing left to do.
  expect(await remove('nasa')).toMatchObject({ keysDestroyed: 0, objects: { found: 0 } });
});
