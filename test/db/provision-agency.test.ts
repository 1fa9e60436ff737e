import { randomBytes } from 'node:crypto';

import { describe, expect, test } from 'vitest';

import { migrate } from '../../src/db/migrate.ts';
import { connect, type Connection } from '../../src/db/pool.ts';
import { agencyRole, lakeSchema, rolePassword } from '../../src/db/roles.ts';
import { ident, sql } from '../../src/db/sql.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import {
  addAgency,
  listAgencies,
  type Provisioning,
  removeAgency,
  updateAgency,
} from '../../src/domain/provision-agency.ts';
import { auditBodies } from '../support/audit.ts';
import { useDatabase } from '../support/database.ts';
import { withManagedDatabase } from '../support/managed-database.ts';

const database = useDatabase();
const deps = (): Provisioning => ({
  adminUrl: database.adminUrl,
  contextKey: database.contextKey,
  actor: 'operator:test',
});

const manifest = (slug: string, more: object = {}): object => ({
  slug,
  name: `Agency ${slug}`,
  abbreviation: slug.toUpperCase().slice(0, 20),
  supported_content_types: ['text'],
  supported_use_cases: ['research', 'scientific'],
  ...more,
});

async function asLogin<T>(role: string, work: (session: Connection) => Promise<T>): Promise<T> {
  const session = await connect({ url: database.urlFor(role), applicationName: 'test agency login' });
  try {
    return await work(session);
  } finally {
    await session.end();
  }
}

describe('adding an agency', () => {
  test('makes logins that are the agency, own the lake and see no other agency', async () => {
    const added = await addAgency(deps(), manifest('alpha'));
    await addAgency(deps(), manifest('beta'));
    expect(added).toMatchObject({
      slug: 'alpha',
      open: true,
      enabled: true,
      retentionDays: 2555,
      dataClassification: 0,
      version: 1n,
    });

    await asLogin(database.agencyRole('alpha', 'rw'), async (session) => {
      const { rows } = await session.query<{ agency: string }>(sql`select agency_id as agency from flux.agencies`);
      expect(rows).toEqual([{ agency: 'alpha' }]);
      await session.query(sql`create table ${ident(lakeSchema('alpha'), 'readings')} (reading int)`);
      await session.query(sql`insert into ${ident(lakeSchema('alpha'), 'readings')} values (7)`);
      await expect(
        session.query(sql`create table ${ident(lakeSchema('beta'), 'stolen')} (x int)`),
      ).rejects.toMatchObject({ code: '42501' });
      await expect(session.query(sql`create table flux.stolen (x int)`)).rejects.toMatchObject({ code: '42501' });
    });
    await asLogin(database.agencyRole('alpha', 'ro'), async (session) => {
      const { rows } = await session.query(sql`select reading from ${ident(lakeSchema('alpha'), 'readings')}`);
      expect(rows).toEqual([{ reading: 7 }]);
      await expect(session.query(sql`delete from ${ident(lakeSchema('alpha'), 'readings')}`)).rejects.toMatchObject({
        code: '42501',
      });
    });
    await asLogin(database.agencyRole('beta', 'ro'), async (session) => {
      await expect(session.query(sql`select from ${ident(lakeSchema('alpha'), 'readings')}`)).rejects.toMatchObject({
        code: '42501',
      });
    });
  });

  test('leaves an entry in the audit log of that agency', async () => {
    await addAgency(deps(), manifest('gamma', { retention_days: 0, data_classification: 'CUI' }));
    const entries = await auditBodies(database, 'gamma');
    expect(entries).toHaveLength(1);
    expect(entries[0]).toMatchObject({
      actor: 'operator:test',
      action: 'agency.add',
      resourceId: 'gamma',
      before: null,
      after: { slug: 'gamma', retentionDays: 0, dataClassification: 1, version: '1' },
    });
  });

  test('is refused for a slug that exists, and changes nothing', async () => {
    await addAgency(deps(), manifest('delta'));
    await expect(addAgency(deps(), manifest('delta', { name: 'Another' }))).rejects.toMatchObject({
      code: 'INVALID_INPUT',
    });
    const all = await listAgencies(database.adminUrl);
    expect(all.find(({ slug }) => slug === 'delta')).toMatchObject({ name: 'Agency delta', version: 1n });
  });

  test('is refused for a manifest that breaks its contract, naming what is wrong', async () => {
    await expect(addAgency(deps(), manifest('Bad Slug'))).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    await expect(addAgency(deps(), manifest('epsilon', { colour: 'blue' }))).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      details: { issues: [{ path: '/colour', rule: 'additionalProperties' }] },
    });
  });

  test('is refused when the name of its login belongs to something else, and leaves nothing half done', async () => {
    const role = agencyRole(database.name, 'zeta', 'ro');
    await database.admin().query(sql`create role ${ident(role)}`);
    try {
      await expect(addAgency(deps(), manifest('zeta'))).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining(role) as string,
      });
    } finally {
      await database.admin().query(sql`drop role ${ident(role)}`);
    }
    const { rows } = await database.admin().query(sql`
      select from flux.agencies where agency_id = 'zeta'
      union all select from pg_roles where rolname = ${agencyRole(database.name, 'zeta', 'rw')}
      union all select from pg_namespace where nspname = ${lakeSchema('zeta')}
    `);
    expect(rows).toHaveLength(0);
  });

  test('lets several operators add agencies at once', async () => {
    const slugs = ['one-of-five', 'two-of-five', 'three-of-five', 'four-of-five', 'five-of-five'];
    await Promise.all(slugs.map((slug) => addAgency(deps(), manifest(slug))));
    expect((await listAgencies(database.adminUrl)).map(({ slug }) => slug)).toEqual(expect.arrayContaining(slugs));
  });

  test('keeps the longest slug’s logins apart from those of a neighbour with the same beginning', async () => {
    const long = 'a'.repeat(63);
    const neighbour = `${'a'.repeat(62)}b`;
    await addAgency(deps(), manifest(long));
    await addAgency(deps(), manifest(neighbour));
    await asLogin(database.agencyRole(long, 'rw'), async (session) => {
      const { rows } = await session.query<{ agency: string }>(sql`select flux.current_agency() as agency`);
      expect(rows).toEqual([{ agency: long }]);
    });
  });
});

describe('changing an agency', () => {
  test('writes the manifest over it and raises its version', async () => {
    await addAgency(deps(), manifest('eta'));
    const changed = await updateAgency(deps(), manifest('eta', { name: 'Renamed', enabled: false }));
    expect(changed).toMatchObject({ name: 'Renamed', enabled: false, version: 2n });
  });

  test('keeps the retention floor that the operator set', async () => {
    await addAgency({ ...deps(), retentionFloorDays: 365 }, manifest('theta'));
    await expect(updateAgency(deps(), manifest('theta', { retention_days: 30 }))).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      message: expect.stringContaining('floor of 365 days') as string,
    });
    await updateAgency({ ...deps(), retentionFloorDays: 7 }, manifest('theta', { retention_days: 30 }));
  });

  test('is refused for an agency that does not exist', async () => {
    await expect(updateAgency(deps(), manifest('nobody-knows'))).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

describe('removing an agency', () => {
  test('closes its logins, ends their sessions and keeps its data; adding it again opens it', async () => {
    await addAgency(deps(), manifest('iota'));
    const role = database.agencyRole('iota', 'rw');
    const session = await connect({ url: database.urlFor(role), applicationName: 'test agency login' });
    const ended = new Promise((resolve) => session.client.once('end', resolve));
    await session.query(sql`create table ${ident(lakeSchema('iota'), 'kept')} as select 1 as n`);

    expect(await removeAgency(deps(), 'iota')).toMatchObject({ open: false, enabled: false });
    await ended;
    await expect(asLogin(role, () => Promise.resolve())).rejects.toThrow();
    await expect(removeAgency(deps(), 'iota')).rejects.toMatchObject({ code: 'NOT_FOUND' });

    expect(await addAgency(deps(), manifest('iota'))).toMatchObject({ open: true, enabled: true, version: 3n });
    await asLogin(role, async (again) => {
      const { rows } = await again.query(sql`select n from ${ident(lakeSchema('iota'), 'kept')}`);
      expect(rows).toEqual([{ n: 1 }]);
    });
  });

  test('is refused while a run is not over', async () => {
    await addAgency(deps(), manifest('kappa'));
    await database.admin().query(sql`
      insert into flux.connections (agency_id, name, kind, config, created_by) values ('kappa', 'files', 'file', '{}', 'test')
    `);
    await database.admin().query(sql`
      insert into flux.pipelines (agency_id, name, version, title, content_type, use_case, classification, connection_name,
        definition, sha256, created_by)
      values ('kappa', 'p', 1, 'P', 'text', 'research', 0, 'files', '{}', ${randomBytes(32)}, 'test')
    `);
    await database.admin().query(sql`
      insert into flux.runs (agency_id, pipeline_name, pipeline_version, stage, content_type, use_case, classification,
        requested_by, payload)
      values ('kappa', 'p', 1, 'FULL', 'text', 'research', 0, 'test', '{}')
    `);
    await expect(removeAgency(deps(), 'kappa')).rejects.toMatchObject({ code: 'RUN_CONFLICT' });
  });
});

test('a migration under another context key gives the logins the passwords of that key', async () => {
  await addAgency(deps(), manifest('lambda'));
  const role = database.agencyRole('lambda', 'rw');
  // The platform roles are shared by all test databases: bring them back before anybody else logs in.
  const fresh = randomBytes(32);
  const admin = await connect({ url: database.adminUrl, applicationName: 'test' });
  try {
    const { ensureAgencyLogins } = await import('../../src/db/agency-logins.ts');
    await inTransaction(admin, (tx) => ensureAgencyLogins(tx, 'lambda', fresh));
  } finally {
    await admin.end();
  }
  const url = new URL(database.urlFor(role));
  await expect(connect({ url: url.href, applicationName: 'test' })).rejects.toThrow();
  url.password = rolePassword(fresh, role);
  await (await connect({ url: url.href, applicationName: 'test' })).end();
});

test('an admin that is no superuser, as on a managed server, can migrate and provision', () =>
  withManagedDatabase(database, async ({ name, adminUrl }) => {
    const provisioning = { adminUrl, contextKey: database.contextKey, actor: 'operator:test' };
    await migrate(adminUrl, provisioning);
    await addAgency(provisioning, manifest('managed'));
    await updateAgency(provisioning, manifest('managed', { name: 'Managed' }));
    await migrate(adminUrl, provisioning);
    expect(await listAgencies(adminUrl)).toMatchObject([{ slug: 'managed', name: 'Managed', open: true }]);
    const role = agencyRole(name, 'managed', 'rw');
    const url = new URL(adminUrl);
    url.username = role;
    url.password = rolePassword(database.contextKey, role);
    const session = await connect({ url: url.href, applicationName: 'test' });
    await session.query(sql`create table ${ident(lakeSchema('managed'), 't')} (x int)`);
    await session.end();
  }));
