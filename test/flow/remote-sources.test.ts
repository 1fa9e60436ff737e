import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { sql } from '../../src/db/sql.ts';
import { pipelineDocument } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { useSealedBench } from '../support/encryption.ts';
import { startWebServer, type WebServer } from '../support/web-server.ts';

const database = useDatabase();
const agency = 'noaa';
const bench = useSealedBench(database, [agency, 'usgs']);
let server: WebServer;

const secret = { headers: { Authorization: 'Bearer a-token-that-nobody-else-reads' } };
const register = (mutation: string, input: object, role: 'admin' | 'operator' = 'admin') =>
  bench.ask(
    agency,
    `mutation ($input: ${mutation[0]?.toUpperCase() ?? ''}${mutation.slice(1)}Input!) { ${mutation}(input: $input) { __typename ... on Error { code message } } }`,
    { input },
    { role },
  );
const connection = (more: object = {}) => ({
  name: 'stations-api',
  kind: 'https',
  config: { baseUrl: server.url },
  ...more,
});

beforeAll(async () => {
  server = await startWebServer();
  server.put('stations.csv', Buffer.from('year,note\n2024,first\n2025,second\n'));
  expect(await register('registerConnection', { definition: connection({ secret }) })).toMatchObject({
    data: { registerConnection: { __typename: 'SourceConnection' } },
  });
  const contract = {
    type: 'object',
    properties: { year: { type: 'integer' }, note: { type: 'string' } },
    required: ['year'],
  };
  const schema = 'https://json-schema.org/draft/2020-12/schema';
  await register(
    'registerContract',
    { name: 'station', document: { $schema: schema, title: 'Station', ...contract } },
    'operator',
  );
  const definition = pipelineDocument('stations', {
    source: { connection: 'stations-api', path: 'stations.csv', format: { type: 'csv' } },
    contract: { name: 'station', version: 1 },
    destination: { type: 'postgres', dataset: 'stations', mode: 'replace' },
  });
  expect(await register('registerPipeline', { definition }, 'operator')).toMatchObject({
    data: { registerPipeline: { __typename: 'Pipeline' } },
  });
});
afterAll(() => server.close());

async function planOf(
  runId: string,
): Promise<{ status: string; sha256: string; sourceChanged?: boolean; address: string }> {
  const { rows } = await database.admin().query<{
    status: string;
    data: { sha256: string; sourceChanged?: boolean };
    address: string;
  }>(sql`
    select r.status, e.data, o.address
    from flux.runs r
    join flux.run_events e on e.run_id = r.run_id and e.name = 'PlanMade'
    join flux.source_objects o on o.run_id = r.run_id
    where r.run_id = ${runId}
  `);
  const [row] = rows;
  if (!row) throw new Error(`expected a planned run ${runId}, found none`);
  return { status: row.status, address: row.address, ...row.data };
}
const sentTo = (path: string) => server.requests.filter(({ url }) => url === path);

describe('a connection to a web server', () => {
  it('brings its secret along, which nothing keeps in plain', async () => {
    const runId = await bench.run(agency, 'stations');
    expect(await planOf(runId)).toMatchObject({ status: 'COMPLETED' });
    expect(sentTo('/stations.csv')[0]?.headers.authorization).toBe(secret.headers.Authorization);
    expect(await bench.holdersOf('a-token-that-nobody-else-reads')).toEqual([]);
    const { data } = await bench.ask(agency, '{ connection(name: "stations-api") { config } }', {}, { role: 'admin' });
    expect(JSON.stringify(data)).not.toContain('a-token');
  });

  it('is not asked to send again what did not change, and what changed is told', async () => {
    const first = await planOf(await bench.run(agency, 'stations'));
    server.requests.length = 0;
    const second = await planOf(await bench.run(agency, 'stations'));
    expect(sentTo('/stations.csv')[0]?.headers['if-none-match']).toMatch(/^"/);
    expect(second).toMatchObject({
      status: 'COMPLETED',
      sourceChanged: false,
      sha256: first.sha256,
      address: first.address,
    });

    server.put('stations.csv', Buffer.from('year,note\n2026,third\n'));
    const third = await planOf(await bench.run(agency, 'stations'));
    expect(third).toMatchObject({ status: 'COMPLETED', sourceChanged: true });
    expect(third.sha256).not.toBe(first.sha256);
  });

  it('asks for everything again when the connection changed, for its access may see other things', async () => {
    await bench.run(agency, 'stations');
    expect(await register('registerConnection', { definition: connection({ secret }) })).toMatchObject({
      data: { registerConnection: { __typename: 'SourceConnection' } },
    });
    server.requests.length = 0;
    expect(await planOf(await bench.run(agency, 'stations'))).toMatchObject({
      status: 'COMPLETED',
      sourceChanged: false,
    });
    expect(sentTo('/stations.csv')[0]?.headers['if-none-match']).toBeUndefined();
  });

  it('keeps its secret through another title, and takes it to no other address', async () => {
    const titled = await register('registerConnection', { definition: connection({ title: 'Stations' }) });
    expect(titled).toMatchObject({ data: { registerConnection: { __typename: 'SourceConnection' } } });
    server.requests.length = 0;
    await bench.run(agency, 'stations');
    expect(sentTo('/stations.csv')[0]?.headers.authorization).toBe(secret.headers.Authorization);

    const moved = { ...connection(), config: { baseUrl: 'https://elsewhere.example.gov/' } };
    expect(await register('registerConnection', { definition: moved })).toMatchObject({
      data: {
        registerConnection: {
          __typename: 'ValidationError',
          message: expect.stringMatching(/Give the secret again/) as string,
        },
      },
    });
  });

  it('tells no part of a secret that is not well formed', async () => {
    const broken = connection({ secret: { headers: { Authorization: 'not-a-header\u0001' }, other: 'x' } });
    const answer = await register('registerConnection', { definition: broken });
    expect(answer).toMatchObject({ data: { registerConnection: { code: 'INVALID_INPUT' } } });
    expect(JSON.stringify(answer)).not.toContain('not-a-header');
    expect(await bench.holdersOf('not-a-header')).toEqual([]);
  });
});
