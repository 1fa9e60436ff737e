import { createHash, randomBytes } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { sql } from '../../src/db/sql.ts';
import { receiveUpload, uploadOf } from '../../src/domain/receive-upload.ts';
import { createFileStore } from '../../src/objects/file-store.ts';
import { expireAll } from '../../src/worker/retention.ts';
import { type ApiServer, startApiServer } from '../support/api-server.ts';
import { apiDeps, auditOf, pipelineDocument, quiet } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { testDataKey, useSealedBench } from '../support/encryption.ts';
import { until } from '../support/runs.ts';
import { createTestIssuer, type TestIssuer } from '../support/tokens.ts';

const database = useDatabase();
const bench = useSealedBench(database, ['noaa', 'usgs']);
let api: ApiServer;
let issuer: TestIssuer;
const byteCountMax = 4_000_000;

beforeAll(async () => {
  issuer = await createTestIssuer('https://issuer.example.gov');
  const deps = {
    ...apiDeps(database, { keys: bench.keyRing() }),
    objects: createFileStore({ folder: bench.objects, dataKey: testDataKey }),
    byteCountMax,
  };
  api = await startApiServer(database, {
    issuers: [{ issuer, agencies: ['noaa', 'usgs'] }],
    uploads: {
      receive: (context, upload) => receiveUpload(deps, context, upload),
      find: (context, name) => uploadOf(deps, context, name),
    },
  });
});
afterAll(() => api.stop());

interface Asked {
  method?: 'PUT' | 'HEAD';
  agency?: string;
  role?: string;
  headers?: Record<string, string>;
}

async function send(
  name: string,
  body: Uint8Array | null,
  { method = 'PUT', agency = 'noaa', role = 'operator', headers = {} }: Asked = {},
) {
  const authorization = `Bearer ${await issuer.sign({ agency, role })}`;
  const response = await fetch(`${api.url}/v1/uploads/${name}`, {
    method,
    headers: { authorization, ...headers },
    body: body && Buffer.from(body),
  });
  const text = await response.text();
  return {
    status: response.status,
    offset: response.headers.get('upload-offset'),
    complete: response.headers.get('upload-complete'),
    body: (text === '' ? {} : JSON.parse(text)) as Record<string, unknown>,
  };
}

const hexOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const digestOf = (bytes: Uint8Array) => ({
  'repr-digest': `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`,
});
const rangeOf = (first: number, length: number, whole: number) => ({
  'content-range': `bytes ${String(first)}-${String(first + length - 1)}/${String(whole)}`,
});
const large = randomBytes(2_500_000);

describe('an upload', () => {
  it('in one request is complete when its digest is right', async () => {
    const bytes = Buffer.from('year,note\n2024,sent\n');
    expect(await send('whole.csv', bytes, { headers: digestOf(bytes) })).toMatchObject({
      status: 201,
      complete: '?1',
      body: { source: 'upload://whole.csv', byteCount: String(bytes.length), sha256: hexOf(bytes) },
    });
    expect(await send('whole.csv', null, { method: 'HEAD' })).toMatchObject({ status: 200, complete: '?1' });
    expect(await send('wrong.csv', bytes, { headers: digestOf(Buffer.from('another')) })).toMatchObject({
      status: 400,
      body: { code: 'INVALID_INPUT', detail: expect.stringMatching(/not what its digest says/) as string },
    });
    expect(await send('wrong.csv', null, { method: 'HEAD' })).toMatchObject({ status: 404 });
  });

  it('goes on part by part, each at its place', async () => {
    const cut = [0, 1_000_000, 1_700_000, large.length];
    const part = (no: number) => {
      const [first = 0, end = 0] = cut.slice(no);
      return send('parts.bin', large.subarray(first, end), {
        headers: { ...rangeOf(first, end - first, large.length), ...digestOf(large) },
      });
    };
    expect(await part(0)).toMatchObject({ status: 202, complete: '?0', offset: '1000000' });
    expect(await part(2)).toMatchObject({ status: 409, offset: '1000000' });
    expect(await part(1)).toMatchObject({ status: 202, offset: '1700000' });
    expect(await part(1)).toMatchObject({ status: 409, offset: '1700000' });
    expect(await send('parts.bin', null, { method: 'HEAD' })).toMatchObject({
      status: 200,
      complete: '?0',
      offset: '1700000',
    });
    expect(await part(2)).toMatchObject({ status: 201, body: { sha256: hexOf(large) } });
  });

  it('that breaks off keeps what it has brought, and goes on behind it', async () => {
    const authorization = `Bearer ${await issuer.sign({ agency: 'noaa' })}`;
    const half = 1_200_000;
    const broken = httpRequest(`${api.url}/v1/uploads/broken.bin`, {
      method: 'PUT',
      headers: { authorization, 'content-length': String(large.length) },
    });
    broken.on('error', () => undefined);
    broken.write(large.subarray(0, half));
    const partial = path.join(bench.objects, 'partial');
    await until(async () => {
      const [file] = await readdir(partial);
      return file !== undefined && (await stat(path.join(partial, file))).size > 0;
    });
    broken.destroy();
    let offset = 0;
    await until(async () => {
      const state = await send('broken.bin', null, { method: 'HEAD' });
      offset = Number(state.offset ?? 0);
      return state.status === 200;
    });
    expect(offset).toBeGreaterThan(0);
    expect(offset).toBeLessThanOrEqual(half);
    const rest = large.subarray(offset);
    expect(
      await send('broken.bin', rest, {
        headers: { ...rangeOf(offset, rest.length, large.length), ...digestOf(large) },
      }),
    ).toMatchObject({
      status: 201,
      body: { sha256: hexOf(large) },
    });
  });

  it('is refused without a token, without the scope, too large, and under a name that is none', async () => {
    const bytes = Buffer.from('x');
    const bare = await fetch(`${api.url}/v1/uploads/bare.csv`, { method: 'PUT', body: bytes });
    expect(bare.status).toBe(401);
    expect(await send('viewer.csv', bytes, { role: 'viewer' })).toMatchObject({
      status: 403,
      body: { code: 'FORBIDDEN' },
    });
    const range = rangeOf(0, 1, byteCountMax + 1);
    expect(await send('large.csv', bytes, { headers: range })).toMatchObject({ body: { code: 'LIMIT_EXCEEDED' } });
    for (const name of ['.hidden', 'a%2Fb', 'a%00b']) {
      expect(await send(name, bytes), name).toMatchObject({ status: 400 });
    }
    expect(await send('range.csv', bytes, { headers: { 'content-range': 'bytes 0-4/5' } })).toMatchObject({
      status: 400,
    });
    expect(await send('late.csv', bytes, { headers: rangeOf(4, 1, 5) })).toMatchObject({ status: 400 });
  });

  it('is its agency’s alone, sealed where it lies, and told in the audit log', async () => {
    const bytes = Buffer.from('year,note\n2024,a text that stands nowhere else\n');
    expect(await send('private.csv', bytes)).toMatchObject({ status: 201 });
    expect(await send('private.csv', null, { method: 'HEAD', agency: 'usgs' })).toMatchObject({ status: 404 });
    expect(await bench.holdersOf('a text that stands nowhere else')).toEqual([]);
    const entries = (await auditOf(database, 'noaa')).filter(({ action }) => action === 'upload.receive');
    expect(entries.find(({ resource_id }) => resource_id === 'private.csv')).toMatchObject({
      success: true,
      actor: 'ada@example.gov',
    });
    expect(entries.some(({ success, error_code }) => !success && error_code === 'LIMIT_EXCEEDED')).toBe(true);
  });

  it('is what a run over upload://name reads, the newest complete one', async () => {
    const ask = (mutation: string, input: object, role: 'admin' | 'operator') =>
      bench.ask(
        'noaa',
        `mutation ($input: ${mutation[0]?.toUpperCase() ?? ''}${mutation.slice(1)}Input!) { ${mutation}(input: $input) { __typename ... on Error { message } } }`,
        { input },
        { role },
      );
    expect(
      await ask('registerConnection', { definition: { name: 'sent', kind: 'upload', config: {} } }, 'admin'),
    ).toMatchObject({
      data: { registerConnection: { __typename: 'SourceConnection' } },
    });
    const document = {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      title: 'Sent',
      type: 'object',
      properties: { year: { type: 'integer' } },
      required: ['year'],
    };
    await ask('registerContract', { name: 'sent', document }, 'operator');
    const definition = pipelineDocument('sent', {
      source: { connection: 'sent', path: 'upload://years.csv', format: { type: 'csv' } },
      contract: { name: 'sent', version: 1 },
      destination: { type: 'postgres', dataset: 'sent', mode: 'replace' },
    });
    expect(await ask('registerPipeline', { definition }, 'operator')).toMatchObject({
      data: { registerPipeline: { __typename: 'Pipeline' } },
    });
    const runOver = async () => {
      const runId = await bench.run('noaa', 'sent');
      const { rows } = await database.admin().query<{
        status: string;
        failure_message: string | null;
        origin: string | null;
        sha256: Buffer | null;
      }>(sql`
        select r.status, r.failure_message, o.origin, o.sha256
        from flux.runs r left join flux.source_objects o on o.run_id = r.run_id where r.run_id = ${runId}
      `);
      return rows[0];
    };
    expect(await runOver()).toMatchObject({
      status: 'FAILED',
      failure_message: expect.stringMatching(/no complete upload/) as string,
    });
    await send('years.csv', Buffer.from('year\n2024\n'));
    expect(await runOver()).toMatchObject({ status: 'COMPLETED', origin: 'upload://years.csv' });
    const newer = Buffer.from('year\n2025\n2026\n');
    await send('years.csv', newer.subarray(0, 7), { headers: rangeOf(0, 7, newer.length) });
    await send('years.csv', newer.subarray(7), { headers: rangeOf(7, newer.length - 7, newer.length) });
    const run = await runOver();
    expect(run).toMatchObject({ status: 'COMPLETED' });
    expect(run?.sha256?.toString('hex')).toBe(hexOf(newer));
    const { rows } = await database
      .agencyPool('noaa', 'ro')
      .query(sql`select year::int from lake_noaa.sent order by year`);
    expect(rows).toEqual([{ year: 2025 }, { year: 2026 }]);
  });

  it('goes when its time is over, with its objects, and what is new stays', async () => {
    await send('old.csv', Buffer.from('year\n1999\n'));
    await send('new.csv', Buffer.from('year\n2000\n'));
    await database
      .admin()
      .query(sql`update flux.uploads set updated_at = now() - interval '8 days' where name = 'old.csv'`);
    const removed: string[] = [];
    const objects = { remove: (address: string) => Promise.resolve(removed.push(address) > 0) };
    const { workerUrl: databaseUrl, contextKey } = database;
    await expireAll({
      databaseUrl,
      contextKey,
      objects,
      log: { ...quiet, warn: (fields) => expect(fields).toBeUndefined() },
      graceMs: 0,
    });
    const { rows } = await database
      .admin()
      .query(sql`select name from flux.uploads where name in ('old.csv', 'new.csv')`);
    expect(rows).toEqual([{ name: 'new.csv' }]);
    expect(removed).toHaveLength(1);
    expect(await send('old.csv', null, { method: 'HEAD' })).toMatchObject({ status: 404 });
  });
});
