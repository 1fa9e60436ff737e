/** Datasets as packages: what each role, agency and clearance gets, whole and byte for byte, and what becomes of one that breaks off. */
import { randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import path from 'node:path';
import { buffer } from 'node:stream/consumers';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createFlux } from '#sdk';
import { type ActivityLog, createActivityLog } from '../../src/audit/activity-log.ts';
import { sealForAudit } from '../../src/auth/tenant-context.ts';
import { createLakeCopies } from '../../src/db/lake-copy.ts';
import { sealKey } from '../../src/db/migrate.ts';
import { sql } from '../../src/db/sql.ts';
import { recordRequestRefusal } from '../../resolvers/context.ts';
import { packageDataset, type PackageDeps } from '../../src/domain/package-dataset.ts';
import { startRun } from '../../src/domain/start-run.ts';
import { type ApiServer, startApiServer } from '../support/api-server.ts';
import { apiDeps, contextOf, quiet } from '../support/api.ts';
import { auditBodies } from '../support/audit.ts';
import { openPackage, type OpenedPackage, sha256Of } from '../support/data-package.ts';
import { useDatabase } from '../support/database.ts';
import { type Field, useField } from '../support/field.ts';
import { flux as run, temporaryFolder } from '../support/flux.ts';
import { createTestIssuer, type TestIssuer } from '../support/tokens.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const noaa = useField(database, bench, 'noaa');
const usgs = useField(database, bench, 'usgs');
let api: ApiServer;
let issuer: TestIssuer;
let activity: ActivityLog;
let deps: PackageDeps;

const properties = {
  id: { type: 'integer', title: 'Number', description: 'As the station | counts' },
  note: { type: ['string', 'null'] },
  level: { type: ['number', 'null'] },
  good: { type: ['boolean', 'null'] },
  day: { type: ['string', 'null'], format: 'date' },
  at: { type: ['string', 'null'], format: 'date-time' },
};
const nothing = { payload: null, stage: null, dryRun: null, metadata: null, reason: null, idempotencyKey: null };
type Records = Record<string, unknown>[];

async function load(field: Field, pipeline: string, records: Records, more: Record<string, unknown>): Promise<void> {
  await field.put(`${pipeline}.ndjson`, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  await field.contract(pipeline, properties);
  await field.pipeline(pipeline, {
    source: { connection: 'files', path: `${pipeline}.ndjson`, format: { type: 'ndjson' } },
    contract: { name: pipeline, version: 1 },
    ...more,
  });
  const cleared = contextOf(database, field.ctx().principal.agency, { clearance: 5, api: field.ctx().api });
  await startRun(cleared.api, cleared, { ...nothing, pipeline });
  await field.drain();
}
const to = (dataset: string, mode: string, more: object = {}): { destination: object } => ({
  destination: { type: 'postgres', dataset, mode, ...more },
});
const odd: Records = [
  { id: 1, note: 'comma, and "quotes"', level: 1.5, good: true, day: '1969-07-20', at: '1969-07-20T20:17:40+02:00' },
  { id: 2, note: 'two\nlines\r\nand a half', level: -0.25, good: false, day: null, at: null },
  { id: 3, note: '=HYPERLINK("https://example.gov")', level: 1e21, good: null, day: null, at: null },
  { id: 4, note: '', level: null, good: null, day: null, at: null },
  { id: 5, note: null, level: null, good: null, day: null, at: null },
  { id: 6, note: 'Grüße, 海 🐋', level: null, good: null, day: null, at: null },
];

beforeAll(async () => {
  activity = createActivityLog({
    pool: database.apiPool(),
    sealFor: sealForAudit(sealKey(database.contextKey)),
    log: { ...quiet, error: () => undefined },
    gatherMs: 10,
  });
  deps = {
    ...apiDeps(database, { activity }),
    activity,
    copies: createLakeCopies({ databaseUrl: database.apiUrl, contextKey: database.contextKey }),
    lookMs: 100,
  };
  issuer = await createTestIssuer('https://issuer.example.gov');
  api = await startApiServer(database, {
    issuers: [{ issuer, agencies: ['noaa', 'usgs'] }],
    packages: { open: (context, name) => packageDataset(deps, context, name) },
    onRefused: (asker, error) => recordRequestRefusal(activity, asker, error),
  });
  const merge = to('tides', 'merge', { key: ['id'] });
  await load(noaa, 'tides', odd, merge);
  await load(noaa, 'tides-again', [{ id: 5, note: 'now it is there' }, { id: 7 }], merge);
  await load(noaa, 'tides-secret', [{ id: 900, note: 'for the cleared' }], { ...merge, classification: 'S' });
  await load(noaa, 'buoys', [{ id: 1, note: 'of noaa' }], {
    ...to('buoys', 'append'),
    transforms: [{ type: 'sterilise', hash: ['note'], generalise: { level: { band: 5 } } }],
  });
  await load(usgs, 'buoys', [{ id: 1, note: 'of usgs' }], to('buoys', 'append'));
  await load(noaa, 'hidden', [{ id: 1 }], { ...to('hidden', 'append'), classification: 'S' });
  await load(noaa, 'none', [{ id: 1 }], {
    ...to('none', 'append'),
    transforms: [{ type: 'filter', rule: 'later', sql: 'id > 1' }],
  });
  await load(noaa, 'big', [{ id: 0 }], to('big', 'replace'));
  await load(noaa, 'growing', [{ id: 0 }], to('growing', 'append'));
  // Some 40 MB: more than sockets hold between two programs.
  for (const name of ['big', 'growing']) {
    await database.admin().query(
      name === 'big'
        ? sql`insert into lake_noaa.big (_flux_load, _flux_record, id, note)
            select 1, n, n, md5(n::text) || md5((n + 1)::text) from generate_series(1, 600000) as n`
        : sql`insert into lake_noaa.growing (_flux_load, _flux_record, id, note)
            select 1, n, n, md5(n::text) || md5((n + 1)::text) from generate_series(1, 600000) as n`,
    );
  }
}, 240_000);
afterAll(async () => {
  await api?.stop();
  await activity?.stop();
});

const tokenOf = (claims: Record<string, unknown> = {}) => issuer.sign({ agency: 'noaa', role: 'analyzer', ...claims });

async function ask(name: string, claims: Record<string, unknown> = {}): Promise<Response> {
  return fetch(`${api.url}/v1/datasets/${encodeURIComponent(name)}/package`, {
    headers: { authorization: `Bearer ${await tokenOf(claims)}`, 'x-request-id': randomUUID() },
  });
}

async function download(
  name: string,
  claims: Record<string, unknown> = {},
): Promise<OpenedPackage & { bytes: Buffer; response: Response }> {
  const response = await ask(name, claims);
  expect(response.status).toBe(200);
  const bytes = Buffer.from(await response.arrayBuffer());
  return { ...openPackage(bytes), bytes, response };
}

async function audited(action: string, after: object = {}): Promise<Record<string, unknown>> {
  let found: Record<string, unknown> | undefined;
  await expect
    .poll(async () => {
      await activity.flush();
      const entries = (await auditBodies(database, 'noaa')).filter((entry) => entry['action'] === action);
      found = entries.findLast((entry) => {
        const told = (entry['after'] ?? {}) as Record<string, unknown>;
        return Object.entries(after).every(([key, value]) => told[key] === value);
      });
      return found !== undefined;
    })
    .toBe(true);
  return found ?? {};
}

const sessions = async (waiting = ''): Promise<number> => {
  const { rows } = await database.admin().query<{ n: number }>(sql`
    select count(*)::int as n from pg_stat_activity
    where application_name = 'flux api, package' and datname = current_database()
      and (${waiting} = '' or wait_event = ${waiting})
  `);
  return rows[0]?.n ?? -1;
};

describe('a package', () => {
  it('holds the records as they are, described as the standard asks', async () => {
    const { paths, descriptor, records, response, files } = await download('tides');
    expect(response.headers.get('content-type')).toBe('application/zip');
    expect(response.headers.get('content-disposition')).toBe('attachment; filename="tides.zip"');
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(paths).toEqual([
      'data/tides.csv',
      'data-dictionary.md',
      'lineage.openlineage.json',
      'datapackage.json',
      'manifest-sha256.txt',
    ]);
    const [{ schema }] = descriptor.resources;
    // A contract is kept in the order of its names.
    expect(schema.fields.map(({ name, type }) => `${name} ${type}`)).toEqual([
      'at datetime',
      'day date',
      'good boolean',
      'id integer',
      'level number',
      'note string',
    ]);
    expect(schema).toMatchObject({ primaryKey: ['id'], missingValues: [''] });
    expect(schema.fields[3]).toMatchObject({ title: 'Number', constraints: { required: true } });
    const none = { at: '', day: '', good: '', level: '' };
    expect(records).toEqual([
      {
        id: '1',
        note: 'comma, and "quotes"',
        level: '1.5',
        good: 'true',
        day: '1969-07-20',
        at: '1969-07-20T18:17:40+00:00',
      },
      { ...none, id: '2', note: 'two\nlines\r\nand a half', level: '-0.25', good: 'false' },
      { ...none, id: '3', note: '=HYPERLINK("https://example.gov")', level: '1e+21' },
      { ...none, id: '4', note: '' },
      { ...none, id: '6', note: 'Grüße, 海 🐋' },
      { ...none, id: '5', note: 'now it is there' },
      { ...none, id: '7', note: '' },
    ]);
    const csv = files['data/tides.csv']?.toString('utf8') ?? '';
    expect(csv).toContain('\r\n,,,4,,""\r\n');
    expect(files['data-dictionary.md']?.toString('utf8')).toContain('Number: As the station \\| counts |');
  });

  it('is created when its newest load became visible, and names the loads and what they read', async () => {
    const { descriptor, files } = await download('tides');
    const { rows } = await database.admin().query<{ at: Date; runId: string; sha256: string }>(sql`
      select l.published_at as at, l.run_id as "runId", encode(s.sha256, 'hex') as sha256
      from flux.loads l join flux.source_objects s on s.agency_id = l.agency_id and s.run_id = l.run_id
      where l.agency_id = 'noaa' and l.dataset = 'tides' and l.load_no <= 2 order by l.load_no
    `);
    expect(descriptor).toMatchObject({
      created: rows[1]?.at.toISOString(),
      keywords: ['research'],
      classification: 'U',
    });
    expect(descriptor.sources).toMatchObject(
      rows.map(({ runId, sha256 }, i) => ({ load: i + 1, run: runId, hash: `sha256:${sha256}` })),
    );
    const events = JSON.parse(files['lineage.openlineage.json']?.toString('utf8') ?? '') as Record<string, unknown>[];
    expect(events).toMatchObject(
      rows.map(({ at, runId, sha256 }, i) => ({
        eventType: 'COMPLETE',
        eventTime: at.toISOString(),
        run: { runId },
        job: { namespace: 'flux://noaa' },
        inputs: [{ namespace: 'flux://noaa/connections/files', name: `sha256:${sha256}` }],
        outputs: [
          { namespace: 'flux://noaa/lake', name: 'tides', outputFacets: { outputStatistics: { rowCount: [6, 2][i] } } },
        ],
      })),
    );
  });

  it('is the same bytes again, whoever of the same rights asks', async () => {
    const [first, second] = [
      await download('tides'),
      await download('tides', { role: 'admin', sub: 'kim@example.gov' }),
    ];
    expect(sha256Of(second.bytes)).toBe(sha256Of(first.bytes));
  });

  it('says which columns a pipeline has masked', async () => {
    const { descriptor, records } = await download('buoys');
    const [{ schema }] = descriptor.resources;
    expect(schema.fields.flatMap(({ name, masked }) => (masked === undefined ? [] : [[name, masked]]))).toEqual([
      ['level', 'generalised by 5'],
      ['note', 'hashed'],
    ]);
    // Nothing keeps what is appended from repeating a key.
    expect(schema.primaryKey).toBeUndefined();
    expect(records[0]?.['note']).toMatch(/^[0-9a-f]{32}$/);
  });

  it('of a dataset without records has its columns', async () => {
    const { records, header, descriptor } = await download('none');
    expect([records, header.length]).toEqual([[], 6]);
    expect(descriptor.sources).toHaveLength(1);
  });
});

describe('who gets what', () => {
  it('the clearance decides which loads are in it', async () => {
    const { records, descriptor } = await download('tides', { clearance: 'S' });
    expect(records.map(({ id }) => id)).toEqual(['1', '2', '3', '4', '6', '5', '7', '900']);
    expect(descriptor.classification).toBe('S');
    expect((await ask('hidden', { clearance: 'S' })).status).toBe(200);
  });

  it('refuses a viewer, and the log says so', async () => {
    const response = await ask('tides', { role: 'viewer' });
    expect(response.status).toBe(403);
    expect(await response.json()).toMatchObject({ code: 'FORBIDDEN' });
    await expect
      .poll(async () => {
        await activity.flush();
        return (await auditBodies(database, 'noaa')).filter((entry) => entry['errorCode'] === 'FORBIDDEN');
      })
      .toEqual([expect.objectContaining({ role: 'viewer', success: false })]);
  });

  it('refuses who brings no token', async () => {
    expect((await fetch(`${api.url}/v1/datasets/tides/package`)).status).toBe(401);
  });

  it.each(['unknown', 'hidden', '../tides', 'Tides', 'tides"; drop table x', '%', '🐋', 'tides__l1'])(
    'knows no dataset %s',
    async (name) => {
      const response = await ask(name);
      expect(response.status).toBe(404);
      expect(await response.json()).toMatchObject({ code: 'NOT_FOUND' });
    },
  );

  it('shows another agency nothing, not even that there is something', async () => {
    const [theirs, unknown] = [await ask('tides', { agency: 'usgs' }), await ask('unknown', { agency: 'usgs' })];
    const [said, saidOfUnknown] = [await theirs.json(), await unknown.json()] as { detail: string }[];
    expect([theirs.status, said?.detail]).toEqual([404, saidOfUnknown?.detail]);
    const { records } = await download('buoys', { agency: 'usgs' });
    expect(records.map(({ id, note }) => [id, note])).toEqual([['1', 'of usgs']]);
  });

  it('tells the audit log before and after', async () => {
    const { bytes, files } = await download('tides', { sub: 'sam@example.gov' });
    const close = await audited('package.close', { sha256: sha256Of(bytes) });
    expect(close).toMatchObject({
      actor: expect.stringMatching(/sam/) as string,
      resourceType: 'dataset',
      resourceId: 'tides',
      success: true,
    });
    expect(close['after']).toEqual({
      end: 'ENDED',
      complete: true,
      bytes: String(bytes.length),
      records: '7',
      sha256: sha256Of(bytes),
      dataSha256: sha256Of(files['data/tides.csv'] ?? Buffer.alloc(0)),
    });
    expect((await audited('package.open'))['after']).toEqual({ loads: 2, records: '7' });
    await ask('unknown');
    await expect
      .poll(async () =>
        (await auditBodies(database, 'noaa')).filter((entry) => entry['errorCode'] === 'NOT_FOUND').at(-1),
      )
      .toMatchObject({ action: 'package.open', resourceId: 'unknown' });
  });
});

describe('a package under way', () => {
  const open = (name: string) => packageDataset(deps, contextOf(database, 'noaa', { api: apiDeps(database) }), name);

  it('is read no faster than it is taken, and ends its session when nobody takes it', async () => {
    const { content } = await open('growing');
    await expect.poll(() => sessions('ClientWrite')).toBe(1);
    content.destroy();
    await expect.poll(() => sessions()).toBe(0);
    const { success, after } = await audited('package.close', { end: 'LEFT' });
    expect([success, after]).toEqual([true, expect.objectContaining({ complete: false, sha256: null, records: null })]);
  });

  it('shows one moment, whatever is published meanwhile', async () => {
    const { content } = await open('growing');
    await expect.poll(() => sessions('ClientWrite')).toBe(1);
    await load(noaa, 'growing-more', [{ id: -1 }], to('growing', 'append'));
    const { records, descriptor } = openPackage(await buffer(content));
    expect([records.length, descriptor.sources?.length]).toEqual([600_001, 1]);
    await expect.poll(() => sessions()).toBe(0);
  });

  it('holds what its loads held when they were listed, whatever a merge takes out of them before the first record is read', async () => {
    const merge = to('merged', 'merge', { key: ['id'] });
    await load(noaa, 'merged', [{ id: 1, note: 'first' }, { id: 2 }], merge);
    const late: PackageDeps = {
      ...deps,
      copies: {
        async open(asked) {
          const copy = await deps.copies.open(asked);
          return {
            ...copy,
            async lookAt(snapshot) {
              await copy.lookAt(snapshot);
              await load(noaa, 'merged-more', [{ id: 1, note: 'second' }], merge);
            },
          };
        },
      },
    };
    const { content } = await packageDataset(late, contextOf(database, 'noaa', { api: apiDeps(database) }), 'merged');
    const { records } = openPackage(await buffer(content));
    expect(records.map(({ id, note }) => [id, note])).toEqual([
      ['1', 'first'],
      ['2', ''],
    ]);
    expect((await download('merged')).records.map(({ note }) => note)).toEqual(['', 'second']);
  });

  it('gives way to a run that replaces the dataset', async () => {
    const { content } = await open('big');
    const broken = new Promise((resolve) => content.once('error', resolve));
    await expect.poll(() => sessions('ClientWrite')).toBe(1);
    await load(noaa, 'big-new', [{ id: 1 }, { id: 2 }], to('big', 'replace'));
    expect(await broken).toMatchObject({ code: 'UNAVAILABLE' });
    expect((await download('big')).records).toHaveLength(2);
    expect(await audited('package.close', { end: 'UNAVAILABLE' })).toMatchObject({
      success: false,
      errorCode: 'UNAVAILABLE',
    });
  });

  it('reaches no client as whole when it breaks off, and two of an agency are enough', async () => {
    const { hostname, port } = new URL(api.url);
    const token = await tokenOf();
    const slow = [0, 1].map(() => {
      const socket = connect(Number(port), hostname).pause();
      socket.on('error', () => undefined);
      socket.write(`GET /v1/datasets/growing/package HTTP/1.1\r\nHost: flux\r\nAuthorization: Bearer ${token}\r\n\r\n`);
      return socket;
    });
    await expect.poll(() => sessions('ClientWrite')).toBe(2);
    const third = await ask('tides');
    expect([third.status, ((await third.json()) as { code: string }).code]).toEqual([429, 'LIMIT_EXCEEDED']);
    slow.forEach((socket) => socket.destroy());
    await expect.poll(() => sessions()).toBe(0);
    await expect.poll(async () => (await ask('tides')).status).toBe(200);

    const response = await ask('growing');
    const reading = response.arrayBuffer();
    await database.admin().query(sql`
      select pg_terminate_backend(pid) from pg_stat_activity
      where application_name = 'flux api, package' and datname = current_database()
    `);
    await expect(reading).rejects.toThrow();
  });
});

describe('the SDK and the command', () => {
  it('bring a package whole, and what is refused as typed errors', async () => {
    const [flux, viewer] = await Promise.all(
      ['analyzer', 'viewer'].map(async (role) => createFlux({ url: api.url, token: await tokenOf({ role }) })),
    );
    const { content, fileName } = (await flux?.datasets.package('tides')) ?? {};
    const bytes = new Uint8Array(await new Response(content).arrayBuffer());
    expect([fileName, openPackage(bytes).records.length]).toEqual(['tides.zip', 7]);
    await expect(viewer?.datasets.package('tides')).rejects.toMatchObject({
      code: 'FORBIDDEN',
      class: 'AUTHORIZATION',
    });
    await expect(flux?.datasets.package('un/known')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const leaving = new AbortController();
    const growing = await flux?.datasets.package('growing', { signal: leaving.signal });
    leaving.abort();
    await expect(new Response(growing?.content).arrayBuffer()).rejects.toThrow(/abort/i);
    await expect.poll(() => sessions()).toBe(0);
    for (const client of [flux, viewer]) client?.close();
  });

  it('the command writes the file, prints its SHA-256, and replaces none unasked', async () => {
    const home = await temporaryFolder('packages');
    try {
      const token = await tokenOf();
      const file = path.join(home.folder, 'out.zip');
      const pack = (...args: string[]) =>
        run(['datasets', 'package', ...args, '--url', api.url, '--token', token], { home: home.folder });
      const saved = await pack('tides', '--output', file, '--json');
      expect([saved.code, saved.stderr]).toEqual([0, '']);
      const bytes = await readFile(file);
      expect(JSON.parse(saved.stdout)).toEqual({
        dataset: 'tides',
        file,
        bytes: bytes.length,
        sha256: sha256Of(bytes),
      });
      expect(openPackage(bytes).records).toHaveLength(7);
      expect(await pack('buoys', '--output', file)).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/^INVALID_INPUT: .* is there already/) as string,
      });
      expect(await readFile(file)).toEqual(bytes);
      expect(await pack('unknown', '--output', `${file}.2`)).toMatchObject({ code: 1 });
      expect(await readdir(home.folder)).toContain('out.zip');
      expect((await readdir(home.folder)).filter((name) => name.startsWith('out.zip.'))).toEqual([]);
      const listed = await run(['datasets', 'list', '--json', '--url', api.url, '--token', token], {
        home: home.folder,
      });
      expect(JSON.parse(listed.stdout)).toContainEqual(expect.objectContaining({ name: 'tides', recordCount: '7' }));
    } finally {
      await home.remove();
    }
  });
});
