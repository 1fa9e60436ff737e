import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createPostgresSource } from '../../src/connectors/postgres/postgres-source.ts';
import type { SourceRequest, SourceStream } from '../../src/connectors/source.ts';
import { ident, literal, sql } from '../../src/db/sql.ts';
import { pipelineDocument } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { useSealedBench } from '../support/encryption.ts';
import { parseCsv } from '../support/csv.ts';

const database = useDatabase();
const agency = 'noaa';
const bench = useSealedBench(database, [agency]);
let config: Record<string, unknown>;
let secret: { user: string; password: string };

beforeAll(async () => {
  const { hostname, port, pathname } = new URL(database.adminUrl);
  secret = { user: `reader_${pathname.slice(1)}`, password: 'a-password-that-nobody-else-has' };
  config = { host: hostname, port: Number(port), database: pathname.slice(1), tls: 'off' };
  const admin = database.admin();
  const reader = ident(secret.user);
  await admin.query(sql`create role ${reader} login password ${literal(secret.password)}`);
  await admin.query(sql`grant connect on database ${ident(pathname.slice(1))} to ${reader}`);
  await admin.query(sql`create schema station`);
  await admin.query(sql`grant usage on schema station to ${reader}`);
  await admin.query(sql`
    create table station.readings (
      "Station Id" text, id bigint primary key, at timestamptz not null, value numeric, note text, raw bytea, ratio float8)
  `);
  await admin.query(sql`
    insert into station.readings values
      ('b', 2, '2026-03-01 12:00+02', 1.10, 'a, "quoted" and' || chr(10) || 'broken note', '\\x00ff', 0.1),
      ('a', 1, '2026-02-28 00:00:00.000001+00', null, '', null, 'NaN')
  `);
  await admin.query(sql`create table station.hidden (id int primary key)`);
  await admin.query(sql`create table station.guarded (id int primary key)`);
  await admin.query(sql`alter table station.guarded enable row level security`);
  await admin.query(sql`grant select on station.readings, station.guarded to ${reader}`);
});
afterAll(async () => {
  const admin = database.admin();
  await admin.query(sql`drop schema station cascade`);
  await admin.query(sql`drop owned by ${ident(secret.user)}`);
  await admin.query(sql`drop role ${ident(secret.user)}`);
});

function requestOf(path: string, more: Partial<SourceRequest> = {}): SourceRequest {
  return {
    agency: 'test',
    connection: { name: 'database', kind: 'postgres', config, secret },
    source: { path, format: { type: 'csv' } },
    signal: new AbortController().signal,
    ...more,
  };
}

async function open(request: SourceRequest, privateHosts = ['127.0.0.1', 'localhost']): Promise<SourceStream> {
  return (await createPostgresSource({ privateHosts: { test: privateHosts } }).open(request)) as SourceStream;
}

async function textOf({ bytes }: Pick<SourceStream, 'bytes'>): Promise<string> {
  const pieces: Uint8Array[] = [];
  for await (const piece of bytes) pieces.push(Uint8Array.from(piece));
  return Buffer.concat(pieces).toString('utf8');
}

describe('a table of another PostgreSQL', () => {
  it('is read whole, in the order of its key, each value in full', async () => {
    const stream = await open(requestOf('station.readings'));
    const text = await textOf(stream);
    expect(parseCsv(text)).toEqual([
      ['Station Id', 'id', 'at', 'value', 'note', 'raw', 'ratio'],
      ['a', '1', '2026-02-28 00:00:00.000001+00', null, '', null, 'NaN'],
      ['b', '2', '2026-03-01 10:00:00+00', '1.10', 'a, "quoted" and\nbroken note', '\\x00ff', '0.1'],
    ]);
    expect(stream.recordCount?.()).toBe(2);
    expect(stream.origin).toMatch(/^postgres:\/\/[^@]+\/station\.readings$/);
  });

  it('is read as it was when reading began', async () => {
    const stream = await open(requestOf('station.readings'));
    await database.admin().query(sql`insert into station.readings values ('c', 3, now(), 3, 'late', null, 1)`);
    try {
      expect(await textOf(stream)).not.toContain('late');
    } finally {
      await database.admin().query(sql`delete from station.readings where id = 3`);
    }
  });

  it('is refused where it is not there, not readable, or would be shown in part', async () => {
    const refusals: [SourceRequest, RegExp][] = [
      [requestOf('station.nothing'), /There is no station\.nothing/],
      [requestOf('station.hidden'), /There is no station\.hidden/],
      [requestOf('station.guarded'), /row-level security/],
      [requestOf('readings'), /Expected schema\.table/],
      [requestOf('a.b.c'), /Expected schema\.table/],
      [requestOf('station.readings"; drop table readings; --'), /There is no/],
      [
        { ...requestOf('station.readings'), source: { path: 'station.readings', format: { type: 'json' } } },
        /comes as csv/,
      ],
    ];
    for (const [request, message] of refusals) {
      const failing = async (): Promise<string> => textOf(await open(request));
      await expect(failing(), request.source.path).rejects.toMatchObject({
        code: 'SOURCE_INVALID',
        message: expect.stringMatching(message) as string,
      });
    }
  });

  it('is refused to who may not log in, and on hosts that nobody allowed', async () => {
    const wrong = { name: 'database', kind: 'postgres', config, secret: { ...secret, password: 'wrong' } };
    await expect(open(requestOf('station.readings', { connection: wrong }))).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringMatching(/refuses the user/) as string,
    });
    await expect(open(requestOf('station.readings'), [])).rejects.toMatchObject({ code: 'SOURCE_INVALID' });
    const tls = {
      name: 'database',
      kind: 'postgres',
      config: { ...config, tls: 'verify-full', host: 'localhost' },
      secret,
    };
    await expect(open(requestOf('station.readings', { connection: tls }), [])).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringMatching(/must not be reached/) as string,
    });
  });

  it('ends with the abort', async () => {
    const asked = new AbortController();
    const { bytes } = await open(requestOf('station.readings', { signal: asked.signal }));
    asked.abort(new Error('lease lost'));
    await expect(textOf({ bytes })).rejects.toThrow('lease lost');
  });
});

describe('a table by a cursor column', () => {
  const incremental = (cursor: string, since: string | null = null): SourceRequest => ({
    ...requestOf('station.readings'),
    source: { path: 'station.readings', format: { type: 'csv' }, incremental: { cursor } },
    since: () => Promise.resolve(since),
  });

  it('gives what lies behind the last value, and says where it ends', async () => {
    const first = await open(incremental('at'));
    expect(
      parseCsv(await textOf(first))
        .slice(1)
        .map(([, id]) => id),
    ).toEqual(['1', '2']);
    expect(first.increment).toEqual({ cursor: 'at', value: '2026-03-01 10:00:00+00' });
    const nothing = await open(incremental('at', String(first.increment?.value)));
    expect(parseCsv(await textOf(nothing)).length).toBe(1);
    expect(nothing.increment).toEqual(first.increment);
  });

  it('refuses a cursor that is not there, is no number or time, or is missing in rows', async () => {
    await expect(open(incremental('missing'))).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringMatching(/has no column/) as string,
    });
    await expect(open(incremental('note'))).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringMatching(/number or a time/) as string,
    });
    await expect(open(incremental('value'))).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringMatching(/rows without "value"/) as string,
    });
  });

  it('is brought up to date by runs: what is new and what changed, once, and nothing when nothing came', async () => {
    const ask = (mutation: string, input: object, role: 'admin' | 'operator') =>
      bench.ask(
        agency,
        `mutation ($input: ${mutation[0]?.toUpperCase() ?? ''}${mutation.slice(1)}Input!) { ${mutation}(input: $input) { __typename ... on Error { message } } }`,
        { input },
        { role },
      );
    const admin = database.admin();
    await admin.query(sql`create table station.log (id bigint primary key, seq bigint not null, note text)`);
    await admin.query(sql`grant select on station.log to ${ident(secret.user)}`);
    await admin.query(sql`insert into station.log select n, n, 'note ' || n from generate_series(1, 120) n`);
    expect(
      await ask('registerConnection', { definition: { name: 'database', kind: 'postgres', config, secret } }, 'admin'),
    ).toMatchObject({
      data: { registerConnection: { __typename: 'SourceConnection' } },
    });
    const document = {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      title: 'Log',
      type: 'object',
      properties: { id: { type: 'integer' }, seq: { type: 'integer' }, note: { type: 'string' } },
      required: ['id', 'seq'],
    };
    await ask('registerContract', { name: 'log', document }, 'operator');
    const source = {
      connection: 'database',
      path: 'station.log',
      format: { type: 'csv' },
      incremental: { cursor: 'seq' },
    };
    const pipeline = (mode: string) =>
      pipelineDocument('log', {
        source,
        contract: { name: 'log', version: 1 },
        destination: { type: 'postgres', dataset: 'log', mode, key: ['id'] },
      });
    expect(await ask('registerPipeline', { definition: pipeline('append') }, 'operator')).toMatchObject({
      data: { registerPipeline: { __typename: 'ValidationError', message: expect.stringMatching(/merge/) as string } },
    });
    expect(await ask('registerPipeline', { definition: pipeline('merge') }, 'operator')).toMatchObject({
      data: { registerPipeline: { __typename: 'Pipeline' } },
    });
    const readBy = async (runId: string): Promise<number> => {
      const { rows } = await admin.query<{ status: string; read: number }>(sql`
        select r.status, (e.data->>'read')::int as read
        from flux.runs r join flux.run_events e on e.run_id = r.run_id and e.name in ('RunCompleted', 'RunFailed')
        where r.run_id = ${runId}
      `);
      expect(rows).toMatchObject([{ status: 'COMPLETED' }]);
      return rows[0]?.read ?? -1;
    };
    expect(await readBy(await bench.run(agency, 'log'))).toBe(120);
    await admin.query(sql`update station.log set seq = 121, note = 'changed' where id = 7`);
    await admin.query(sql`insert into station.log values (121, 122, 'new')`);
    expect(await readBy(await bench.run(agency, 'log'))).toBe(2);
    expect(await readBy(await bench.run(agency, 'log'))).toBe(0);
    const { rows: lake } = await database
      .agencyPool(agency, 'ro')
      .query(sql`select id, seq, note from lake_noaa.log order by id`);
    const { rows: there } = await admin.query(sql`select id, seq, note from station.log order by id`);
    expect(lake).toEqual(there);
    expect(await bench.holdersOf(secret.password)).toEqual([]);
  });
});
