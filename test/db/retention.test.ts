import { mkdtemp, rm, stat, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { type ExecutionResult, graphql, parse, subscribe } from 'graphql';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { schema } from '../../schema/schema.ts';
import { exportAudit, openExport } from '../../src/audit/export.ts';
import { publicKeyOf } from '../../src/audit/signed-note.ts';
import { verifyAll } from '../../src/audit/verify-all.ts';
import { type Connection } from '../../src/db/pool.ts';
import { ident, sql } from '../../src/db/sql.ts';
import { createFileStore } from '../../src/objects/file-store.ts';
import { encodeEventCursor } from '../../src/events/cursor.ts';
import { expireAll, type Expired } from '../../src/worker/retention.ts';
import { apiDeps, auditOf, contextOf } from '../support/api.ts';
import { scratchAnchor, sealAll, testAuditKey } from '../support/audit.ts';
import { useDatabase } from '../support/database.ts';
import { insertRun } from '../support/fixtures.ts';

const database = useDatabase();
let folder = '';
let anchor: Awaited<ReturnType<typeof scratchAnchor>>;
let store: ReturnType<typeof createFileStore>;
const keys = [{ publicKey: publicKeyOf(testAuditKey) }];

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'flux-retention-'));
  anchor = await scratchAnchor();
  store = createFileStore({ folder, dataKey: Buffer.alloc(32, 3) });
  await database.addAgency('nasa', { retentionDays: 30 });
  await database.addAgency('noaa', { retentionDays: 30 });
  await database.addAgency('usgs', { retentionDays: 0 });
});
afterAll(async () => {
  await anchor.remove();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  await expire();
});

const expire = (graceMs = 0): Promise<Expired[]> =>
  expireAll({
    databaseUrl: database.workerUrl,
    contextKey: database.contextKey,
    objects: store,
    log: { info: () => undefined, warn: (fields) => expect.fail(JSON.stringify(fields)) },
    graceMs,
  });

const daysAgo = (days: number): Date => new Date(Date.now() - days * 86_400_000);

/** A run that ended so long ago, with a row in every table that a run leaves rows in. */
async function endedRun(
  agency: string,
  days: number,
  { address = `${agency}/${'0'.repeat(64)}` } = {},
): Promise<string> {
  const { runId } = await insertRun(database, agency);
  const db = database.admin();
  await db.query(sql`
    insert into flux.run_events (agency_id, run_id, seq, name, attempt, message)
    values (${agency}, ${runId}, 1, 'RunQueued', 1, 'x'), (${agency}, ${runId}, 2, 'RunCompleted', 1, 'x')
  `);
  await db.query(sql`
    insert into flux.step_counts (agency_id, run_id, partition_no, position, stage, step, kind)
    values (${agency}, ${runId}, 0, 0, 'INGEST', 'read', 'read')
  `);
  await db.query(sql`
    insert into flux.rejected_records (agency_id, run_id, record_no, partition_no, reasons)
    values (${agency}, ${runId}, 1, 0, '[]')
  `);
  await db.query(sql`
    insert into flux.checkpoints (agency_id, run_id, partition_no, version, epoch, status, step, body, hash)
    values (${agency}, ${runId}, 0, 1, 1, 'COMPLETED', 'x', '{}', sha256('{}'))
  `);
  await db.query(sql`
    insert into flux.source_objects (agency_id, run_id, sha256, byte_count, address, connection_name, origin, media_type)
    values (${agency}, ${runId}, sha256('x'), 1, ${address}, 'files', 'x', 'text/csv')
  `);
  await db.query(sql`
    update flux.run_partitions set status = 'COMPLETED' where agency_id = ${agency} and run_id = ${runId}
  `);
  await db.query(sql`update flux.runs set status = 'IN_PROGRESS' where agency_id = ${agency} and run_id = ${runId}`);
  await db.query(sql`
    update flux.runs set status = 'COMPLETED', finished_at = ${daysAgo(days)}, last_seq = 2
    where agency_id = ${agency} and run_id = ${runId}
  `);
  return runId;
}

const tablesOfRuns = async (): Promise<string[]> =>
  (
    await database.admin().query<{ name: string }>(sql`
      select c.relname::text as name
      from pg_class c
      join pg_attribute a on a.attrelid = c.oid and a.attname = 'run_id' and not a.attisdropped
      where c.relnamespace = 'flux'::regnamespace and c.relkind in ('r', 'p')
      order by 1
    `)
  ).rows.map(({ name }) => name);

const rowsOf = async (table: string, agency: string, runId: string): Promise<number> =>
  (
    await database
      .admin()
      .query(sql`select from ${ident('flux', table)} where agency_id = ${agency} and run_id = ${runId}`)
  ).rowCount;

const exists = async (agency: string, runId: string): Promise<boolean> => (await rowsOf('runs', agency, runId)) === 1;

describe('retention', () => {
  it('takes a run that ended before it, with every row that hangs on it, and leaves the others', async () => {
    const [old, young, others, kept] = [
      await endedRun('nasa', 31, { address: `nasa/${'1'.repeat(64)}` }),
      await endedRun('nasa', 29),
      await endedRun('noaa', 1),
      await endedRun('usgs', 9_999),
    ];
    const { runId: open } = await insertRun(database, 'nasa');
    const tables = await tablesOfRuns();
    expect(tables.length).toBeGreaterThan(7);
    expect(await expire()).toMatchObject([{ agency: 'nasa', runs: 1, events: 2, checkpoints: 1, rejectedRecords: 1 }]);
    for (const table of tables) expect(await rowsOf(table, 'nasa', old), table).toBe(0);
    for (const [agency, runId] of [
      ['nasa', young],
      ['nasa', open],
      ['noaa', others],
      ['usgs', kept],
    ] as const) {
      expect(await exists(agency, runId)).toBe(true);
    }
    const entry = (await auditOf(database, 'nasa')).find(({ action }) => action === 'retention.expire');
    expect(entry?.body).toMatchObject({
      actor: 'retention',
      role: 'platform',
      success: true,
      after: { runs: '1', events: '2', objects: '1', runIds: [old] },
    });
  });

  it('goes through many in bounded batches, each with its entry', async () => {
    const before = (await auditOf(database, 'nasa')).filter(({ action }) => action === 'retention.expire').length;
    for (let i = 0; i < 60; i += 1) await endedRun('nasa', 40);
    expect(await expire()).toMatchObject([{ runs: 60 }]);
    const after = (await auditOf(database, 'nasa')).filter(({ action }) => action === 'retention.expire').length;
    expect(after - before).toBe(2);
  });

  it('keeps what a dataset shows, drops what was never shown, and cuts the line that leads back', async () => {
    const [shown, hidden] = [await endedRun('nasa', 31), await endedRun('nasa', 31)];
    const { runId: rerun } = await insertRun(database, 'nasa');
    const db = database.admin();
    await db.query(sql`update flux.runs set rerun_of = ${shown} where agency_id = 'nasa' and run_id = ${rerun}`);
    await db.query(sql`
      insert into flux.datasets (agency_id, name, columns, last_load) values ('nasa', 'readings', '[]', 2)
      on conflict do nothing
    `);
    await db.query(sql`
      insert into flux.loads (agency_id, dataset, load_no, run_id, mode, status, columns)
      values ('nasa', 'readings', 1, ${shown}, 'append', 'PUBLISHED', '[]'), ('nasa', 'readings', 2, ${hidden}, 'append', 'OPEN', '[]')
    `);
    const lake = database.agencyPool('nasa');
    await lake.query(sql`create table lake_nasa.readings__l1 (a int)`);
    await lake.query(sql`create table lake_nasa.readings__l2 (a int)`);
    await expire();
    const { rows } = await db.query(
      sql`select load_no, run_id, to_regclass('lake_nasa.readings__l1') is not null as one, to_regclass('lake_nasa.readings__l2') is not null as two from flux.loads where agency_id = 'nasa'`,
    );
    expect(rows).toEqual([{ load_no: 1n, run_id: null, one: true, two: false }]);
    expect((await db.query(sql`select rerun_of from flux.runs where run_id = ${rerun}`)).rows).toEqual([
      { rerun_of: null },
    ]);
  });

  it('never goes below the platform’s floor, and knows no end at 0', async () => {
    await database.admin().query(sql`update flux.agencies set retention_floor_days = 90 where agency_id = 'noaa'`);
    const old = await endedRun('noaa', 60);
    await expire();
    expect(await exists('noaa', old)).toBe(true);
    await database.admin().query(sql`update flux.agencies set retention_floor_days = 0 where agency_id = 'noaa'`);
    await expire();
    expect(await exists('noaa', old)).toBe(false);
    const kept = await endedRun('usgs', 100_000 / 10);
    await expire();
    expect(await exists('usgs', kept)).toBe(true);
  });

  it('is decided in the database: no login deletes by itself, and none for another agency', async () => {
    const theirs = await endedRun('noaa', 40);
    for (const pool of [database.apiPool(), database.workerPool()]) {
      for (const statement of [
        sql`select flux.expire_runs(10)`,
        sql`select flux.expire_audit(10)`,
        sql`delete from flux.runs`,
        sql`delete from flux.run_events`,
      ]) {
        await expect(pool.query(statement)).rejects.toMatchObject({ code: '42501' });
      }
    }
    const nasa = database.agencyPool('nasa');
    for (const statement of [
      sql`delete from flux.runs`,
      sql`delete from flux.run_events`,
      sql`delete from flux.source_objects`,
      sql`delete from flux.audit_entries`,
      sql`insert into flux.expired_objects (agency_id, address) values ('nasa', 'x')`,
      sql`select flux.prune_audit('nasa', 1)`,
      sql`select flux.retention_cutoff()`,
      sql`update flux.agencies set retention_days = 1`,
    ]) {
      await expect(nasa.query(statement)).rejects.toMatchObject({ code: '42501' });
    }
    await nasa.query(sql`select flux.expire_runs(1000)`);
    expect(await exists('noaa', theirs)).toBe(true);
  });
});

describe('a legal hold', () => {
  const hold = (role: 'admin' | 'operator', mutation: string, reason: string) =>
    graphql({
      schema,
      source: `mutation { ${mutation}(input: { reason: ${JSON.stringify(reason)} }) {
        __typename ... on Agency { legalHold { by reason } } ... on Error { code message } } }`,
      contextValue: contextOf(database, 'nasa', { role }),
    });

  it('stops expiry of runs and of the audit log until it is lifted; both need a reason, and are audited', async () => {
    const old = await endedRun('nasa', 31);
    expect((await hold('operator', 'setLegalHold', 'x')).errors?.[0]?.message).toContain('agency:write');
    expect((await hold('admin', 'setLegalHold', '  ')).data?.['setLegalHold']).toMatchObject({ code: 'INVALID_INPUT' });
    expect((await hold('admin', 'liftLegalHold', 'x')).data?.['liftLegalHold']).toMatchObject({
      code: 'INVALID_INPUT',
    });
    expect((await hold('admin', 'setLegalHold', 'Case 12-3456789, ask 202-456-1111')).data?.['setLegalHold']).toEqual({
      __typename: 'Agency',
      legalHold: { by: 'pat@example.gov', reason: 'Case [ein], ask [phone]' },
    });
    await expire();
    expect(await exists('nasa', old)).toBe(true);
    await expect(database.admin().query(sql`select flux.prune_audit('nasa', 1)`)).rejects.toThrow('legal hold');
    const { data } = await hold('admin', 'liftLegalHold', 'closed');
    expect(data?.['liftLegalHold']).toEqual({ __typename: 'Agency', legalHold: null });
    await expire();
    expect(await exists('nasa', old)).toBe(false);
    const entries = (await auditOf(database, 'nasa')).filter(({ action }) => /hold/.test(action));
    expect(entries.map(({ action, success }) => [action, success])).toEqual([
      ['agency.hold', false],
      ['agency.hold', false],
      ['agency.unhold', false],
      ['agency.hold', true],
      ['agency.unhold', true],
    ]);
    expect(entries[3]?.body).toMatchObject({
      reason: 'Case [ein], ask [phone]',
      before: { legalHold: null },
      after: { legalHold: { by: 'pat@example.gov', reason: 'Case [ein], ask [phone]' } },
    });
  });

  it('waits for an expiry that is under way, and an expiry that begins meanwhile passes by', async () => {
    const old = await endedRun('nasa', 31);
    await database.admin().withConnection(async (connection: Connection) => {
      await connection.query(sql`begin`);
      await connection.query(sql`select pg_advisory_xact_lock(x'666c0010'::int, hashtext('nasa'))`);
      await expire();
      expect(await exists('nasa', old)).toBe(true);
      await connection.query(sql`rollback`);
    });
    await expire();
    expect(await exists('nasa', old)).toBe(false);
  });
});

describe('objects', () => {
  const bytes = (text: string) =>
    (async function* () {
      yield await Promise.resolve(Buffer.from(text));
    })();
  const there = (address: string): Promise<boolean> =>
    stat(store.pathOf(address)).then(
      () => true,
      () => false,
    );

  it('go with the last run that names them, once nobody has stored them again for a while', async () => {
    const { address } = await store.put('nasa', bytes('one'));
    const [old] = [await endedRun('nasa', 31, { address })];
    const young = await endedRun('nasa', 1, { address });
    await expire();
    expect(await exists('nasa', old)).toBe(false);
    expect(await there(address)).toBe(true);
    await database.admin().query(sql`update flux.runs set finished_at = ${daysAgo(31)} where run_id = ${young}`);
    expect(await expire(3_600_000)).toMatchObject([{ runs: 1, objects: 0 }]);
    expect(await there(address)).toBe(true);
    const past = daysAgo(1);
    await utimes(store.pathOf(address), past, past);
    await store.put('nasa', bytes('one'));
    await database.admin().query(sql`update flux.expired_objects set expired_at = ${past}`);
    expect(await expire(3_600_000)).toEqual([]);
    expect(await there(address)).toBe(true);
    await utimes(store.pathOf(address), past, past);
    expect(await expire(3_600_000)).toMatchObject([{ objects: 1 }]);
    expect(await there(address)).toBe(false);
    expect((await auditOf(database, 'nasa')).at(-1)).toMatchObject({ action: 'retention.remove', success: true });
    expect((await database.admin().query(sql`select from flux.expired_objects`)).rowCount).toBe(0);
  });
});

describe('the audit log', () => {
  const oldEntry = (agency: string, i: number) => {
    const at = sql`${daysAgo(40)}::timestamptz + ${i} * interval '1 second'`;
    return database.admin().query(sql`
      with given as (select flux.uuid_v7() as id, ${at} as at)
      insert into flux.audit_inbox (agency_id, entry_id, at, body)
      select ${agency}, id, at, convert_to(
        '{"action":"a.b","actor":"x","after":null,"agencyId":"' || ${agency} || '","at":"'
          || to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '","before":null,"entryId":"' || id
          || '","errorCode":null,"resourceId":null,"resourceType":"run","role":"viewer","success":true}', 'UTF8')
      from given
    `);
  };
  const verify = async () =>
    database.admin().withConnection(async (connection) => {
      await connection.query(sql`begin`);
      try {
        const target = path.join(folder, `export-${String(performance.now())}`);
        await exportAudit(connection, target);
        return await verifyAll(await openExport(target), await anchor.read(), keys);
      } finally {
        await connection.query(sql`rollback`);
      }
    });
  const ask = (source: string) =>
    graphql({ schema, source, contextValue: contextOf(database, 'noaa', { role: 'admin' }) });

  it('loses its oldest signed entries, says so in itself, and what is left verifies with no database', async () => {
    for (let i = 0; i < 300; i += 1) await oldEntry('noaa', i);
    expect(await expire()).toEqual([]);
    await sealAll(database, anchor);
    const first = await ask('{ auditEntries(first: 5) { edges { cursor node { seq } } } }');
    const edges = (first.data?.['auditEntries'] as { edges: { cursor: string; node: { seq: string } }[] }).edges;
    const old = edges[0]?.cursor ?? '';
    expect(edges[0]?.node.seq).toBe('1');
    expect(await expire()).toMatchObject([{ agency: 'noaa', auditEntries: 300 }]);
    await sealAll(database, anchor);
    const { rows } = await database.admin().query<{ at: Date; seq: bigint }>(sql`
      select seq, at from flux.audit_entries where agency_id = 'noaa' order by seq limit 1
    `);
    expect(rows[0]?.seq).toBe(301n);
    expect(await verify()).toMatchObject({ holds: true });
    expect((await auditOf(database, 'noaa')).some(({ action }) => action === 'audit.prune')).toBe(true);

    // A position that lies before what is left is no position any more.
    const page = await ask(`{ auditEntries(after: "${old}") { edges { cursor } } }`);
    expect(page.errors?.[0]?.originalError).toMatchObject({ code: 'CURSOR_EXPIRED', details: { floor: '301' } });
    const document = parse(`subscription { auditEntryAdded(after: "${old}") { seq } }`);
    const contextValue = contextOf(database, 'noaa', { role: 'admin' });
    const refused = (await subscribe({ schema, document, contextValue })) as ExecutionResult;
    expect(refused.errors?.[0]?.originalError).toMatchObject({ code: 'CURSOR_EXPIRED' });
    const rest = await ask('{ auditEntries(first: 1) { edges { node { seq } } } }');
    expect(rest.data?.['auditEntries']).toMatchObject({ edges: [{ node: { seq: '301' } }] });
  });
});

describe('a cursor of a run that expired', () => {
  it('answers CURSOR_EXPIRED before any item, and without one the run does not exist', async () => {
    const runId = await endedRun('nasa', 31);
    const api = apiDeps(database);
    const contextValue = contextOf(database, 'nasa', { api });
    await expire();
    const after = encodeEventCursor(api.cursorKey, { agency: 'nasa', runId, seq: 1n });
    const id = Buffer.from(`Run:${runId}`).toString('base64url');
    const code = async (selection: string): Promise<unknown> => {
      const { errors } = (
        selection.startsWith('subscription')
          ? await subscribe({ schema, document: parse(selection), contextValue })
          : await graphql({ schema, source: selection, contextValue })
      ) as ExecutionResult;
      return (errors?.[0]?.originalError as { code?: unknown } | undefined)?.code;
    };
    expect(await code(`{ runEventLog(runId: "${id}", after: "${after}") { edges { cursor } } }`)).toBe(
      'CURSOR_EXPIRED',
    );
    expect(await code(`subscription { runEvents(runId: "${id}", after: "${after}") { __typename } }`)).toBe(
      'CURSOR_EXPIRED',
    );
    expect(await code(`{ runEventLog(runId: "${id}") { edges { cursor } } }`)).toBe('NOT_FOUND');
    expect(await code(`subscription { runEvents(runId: "${id}") { __typename } }`)).toBe('NOT_FOUND');
  });
});

it('an idempotency key goes when its seven days are over', async () => {
  await database.admin().query(sql`
    insert into flux.idempotency_keys (agency_id, key, operation, request_sha256, result, expires_at)
    values ('nasa', 'old', 'run.start', sha256('x'), '{}', now() - interval '1 minute'),
      ('nasa', 'new', 'run.start', sha256('x'), '{}', now() + interval '1 minute')
  `);
  await expire();
  const { rows } = await database.admin().query(sql`select key from flux.idempotency_keys where agency_id = 'nasa'`);
  expect(rows).toEqual([{ key: 'new' }]);
});
