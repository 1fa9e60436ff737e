import { randomUUID } from 'node:crypto';

import { createClient } from 'graphql-ws';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';

import { createContext } from '../../resolvers/context.ts';
import { schema } from '../../schema/schema.ts';
import type { Role } from '../../src/auth/roles.ts';
import { canonicalBytes } from '../../src/canonical-json.ts';
import { channels, notify } from '../../src/db/notify.ts';
import { sealKey } from '../../src/db/migrate.ts';
import { sql } from '../../src/db/sql.ts';
import { startHints } from '../../src/events/listen.ts';
import { graphqlPath, type RunningServer, startServer } from '../../src/server/start-server.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import {
  apiDeps,
  append,
  auditOf,
  completes,
  connectionDocument,
  contractDocument,
  pipelineDocument,
  principalOf,
  quiet,
  starts,
} from '../support/api.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();
let server: RunningServer;
let hints: ReturnType<typeof startHints>;

interface Answer {
  data: Record<string, unknown> | null;
  errors?: { message: string; path?: unknown[]; extensions: Record<string, unknown> }[];
}

beforeAll(async () => {
  await database.addAgency('nasa');
  await database.addAgency('noaa');
  hints = startHints({ url: database.apiUrl, logger: quiet });
  const api = apiDeps(database, { hints, pollMs: 60_000 });
  server = await startServer(
    { environment: 'development', host: '127.0.0.1', port: 0 },
    {
      schema,
      // Who may speak for whom is test/unit/authenticator's affair; here a token is `<agency>/<role>/<clearance>`.
      authenticator: {
        authenticate(token) {
          const [agency = '', role = 'viewer', clearance = '0'] = token.split('/');
          return Promise.resolve(principalOf(agency, { role: role as Role, clearance: Number(clearance) as 0 }));
        },
      },
      seal: sealKey(database.contextKey),
      createContext: (request) => createContext(api, request),
      readiness: {},
      logger: createLogger({ service: 'api', level: 'fatal' }),
    },
  );
  await hints.listening();
});
afterAll(async () => {
  await server.stop();
  await hints.stop();
});

async function ask(token: string, query: string, variables: Record<string, unknown> = {}): Promise<Answer> {
  const response = await fetch(`${server.url}${graphqlPath}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify({ query, variables }),
  });
  return (await response.json()) as Answer;
}

/** Asks for something that must be there without an error. */
async function get<T>(token: string, query: string, variables: Record<string, unknown> = {}): Promise<T> {
  const answer = await ask(token, query, variables);
  expect(answer.errors).toBeUndefined();
  return answer.data as T;
}

function socket(token: string) {
  return createClient({
    url: `${server.url.replace('http', 'ws')}${graphqlPath}`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${token}` },
    retryAttempts: 0,
  });
}

const startRun = `mutation ($input: StartRunInput!) {
  startRun(input: $input) {
    __typename
    ... on Run { id runId status stage useCase contentType dryRun isTerminal version payload reason }
    ... on Error { code class message retryable traceId }
    ... on ValidationError { candidates issues { path rule message } }
  }
}`;
const register = (what: string): string =>
  `mutation ($input: Register${what}Input!) { register${what}(input: $input) { __typename ... on Error { code message } } }`;

interface Started {
  startRun: { __typename: string; id: string; runId: string; code?: string; candidates?: string[] } & Record<
    string,
    unknown
  >;
}

async function newRun(): Promise<Started['startRun']> {
  const { startRun: run } = await get<Started>('nasa/operator', startRun, {
    input: { pipeline: 'readings', reason: 'test' },
  });
  expect(run.__typename).toBe('Run');
  return run;
}

describe('registering and running over GraphQL', () => {
  it('goes from nothing to a queued run', async () => {
    const connection = await get('nasa/admin', register('Connection'), { input: { definition: connectionDocument } });
    expect(connection).toEqual({ registerConnection: { __typename: 'SourceConnection' } });
    const contract = await get('nasa/operator', register('Contract'), {
      input: { name: 'reading', document: contractDocument },
    });
    expect(contract).toEqual({ registerContract: { __typename: 'Contract' } });
    const pipeline = await get('nasa/operator', register('Pipeline'), { input: { definition: pipelineDocument() } });
    expect(pipeline).toEqual({ registerPipeline: { __typename: 'Pipeline' } });
    expect(await newRun()).toMatchObject({
      status: 'PENDING',
      stage: 'FULL',
      useCase: 'RESEARCH',
      contentType: 'TEXT',
      dryRun: false,
      isTerminal: false,
      version: '2',
      payload: { agency: 'nasa', use_case: 'research' },
      reason: 'test',
    });
  });

  it('answers an expected failure as a typed result', async () => {
    const { startRun: result } = await get<Started>('nasa/operator', startRun, { input: { pipeline: 'nope' } });
    expect(result).toMatchObject({ __typename: 'ValidationError', code: 'PIPELINE_NOT_FOUND', retryable: false });
    expect(result.candidates).toEqual(['readings (text, research)']);
    const foreign = { payload: { agency: 'noaa', content_type: 'text', use_case: 'research' } };
    expect((await get<Started>('nasa/operator', startRun, { input: foreign })).startRun).toMatchObject({
      __typename: 'DataIsolationError',
      code: 'DATA_ISOLATION',
    });
  });

  it('refuses a role without the scope, and records who tried', async () => {
    const { data, errors } = await ask('nasa/viewer', startRun, { input: { pipeline: 'readings' } });
    expect(data).toBeNull();
    expect(errors?.[0]?.extensions).toMatchObject({ code: 'FORBIDDEN', class: 'AUTHORIZATION' });
    expect((await auditOf(database, 'nasa')).at(-1)).toMatchObject({
      action: 'run.start',
      success: false,
      error_code: 'FORBIDDEN',
    });
  });

  it('changes the agency for its admin', async () => {
    const update =
      'mutation ($input: UpdateAgencyInput!) { updateAgency(input: $input) { __typename ... on Agency { name } ... on Error { code } } }';
    expect(await get('nasa/admin', update, { input: { name: 'NASA' } })).toEqual({
      updateAgency: { __typename: 'Agency', name: 'NASA' },
    });
  });
});

describe('reading over GraphQL', () => {
  it('shows the definitions, by name and by global id', async () => {
    const found = await get<Record<string, { id: string } & Record<string, unknown>>>(
      'nasa/operator',
      `{
        pipeline(name: "readings") { id name version contentType classification contract { id name sha256 } connection { id config } definition }
        pipelines { edges { cursor node { name } } pageInfo { hasNextPage } }
        contract(name: "reading") { id document }
        contracts { edges { node { version } } }
        connection(name: "files") { id kind title config version }
        connections { edges { node { name } } }
        agency { id slug dataClassification supportedUseCases }
      }`,
    );
    expect(found).toMatchObject({
      pipeline: {
        name: 'readings',
        version: 1,
        classification: 'U',
        contract: { name: 'reading' },
        connection: { config: { roots: ['.'] } },
      },
      pipelines: { edges: [{ node: { name: 'readings' } }], pageInfo: { hasNextPage: false } },
      contract: { document: contractDocument },
      connections: { edges: [{ node: { name: 'files' } }] },
      agency: { slug: 'nasa', dataClassification: 'SCI' },
    });
    const ids = ['pipeline', 'contract', 'connection', 'agency'].map((name) => found[name]?.id);
    const nodes = `query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }`;
    const types = ['Pipeline', 'Contract', 'SourceConnection', 'Agency'].map((__typename, i) => ({
      __typename,
      id: ids[i],
    }));
    expect(await get('nasa/viewer', nodes, { ids })).toEqual({ nodes: types });
    expect((await ask('noaa/admin', nodes, { ids })).data).toEqual({ nodes: [null, null, null, null] });
  });

  it('shows an agency nothing of another', async () => {
    const { id, runId } = await newRun();
    const query =
      'query ($id: ID!) { run(id: $id) { status } node(id: $id) { id } agency(slug: "nasa") { slug } pipeline(name: "readings") { name } runs { edges { node { id } } } }';
    expect(await get('noaa/admin/5', query, { id })).toEqual({
      run: null,
      node: null,
      agency: null,
      pipeline: null,
      runs: { edges: [] },
    });
    const { errors } = await ask('noaa/admin/5', 'query ($id: ID!) { runEventLog(runId: $id) { edges { cursor } } }', {
      id,
    });
    expect(errors?.[0]?.extensions).toMatchObject({ code: 'NOT_FOUND' });
    expect(await get('nasa/viewer', 'query ($id: ID!) { run(id: $id) { runId } }', { id: runId })).toEqual({
      run: { runId },
    });
    expect(await get('nasa/viewer', '{ run(id: "nothing") { runId } agency(slug: "no-such") { slug } }')).toEqual({
      run: null,
      agency: null,
    });
  });

  it('masks what a role may not read, and shows the rest', async () => {
    const { id } = await newRun();
    const query = `query ($id: ID!) { run(id: $id) {
      status payload rejectedRecords { edges { cursor } } events { edges { node { __typename name data } } }
    } }`;
    const { data, errors } = await ask('nasa/viewer', query, { id });
    expect(data?.['run']).toEqual({
      status: 'PENDING',
      payload: null,
      rejectedRecords: null,
      events: { edges: [{ node: { __typename: 'RunQueued', name: 'RunQueued', data: null } }] },
    });
    expect(errors?.map(({ path, extensions }) => [path?.join('.'), extensions['code']])).toEqual(
      expect.arrayContaining([
        ['run.payload', 'FORBIDDEN'],
        ['run.rejectedRecords', 'FORBIDDEN'],
        ['run.events.edges.0.node.data', 'FORBIDDEN'],
      ]),
    );
  });

  it('pages through runs both ways, filters them, and refuses a cursor of another list', async () => {
    const made = [await newRun(), await newRun(), await newRun()].map(({ id }) => id);
    type Runs = { runs: { edges: { node: { id: string } }[]; pageInfo: { hasNextPage: boolean; endCursor: string } } };
    const query = `query ($after: String, $first: Int, $filter: RunFilter, $orderBy: RunOrder) {
      runs(after: $after, first: $first, filter: $filter, orderBy: $orderBy) { edges { node { id } } pageInfo { hasNextPage endCursor } }
    }`;
    const newest = await get<Runs>('nasa/viewer', query, { first: 2 });
    expect(newest.runs.edges.map(({ node }) => node.id)).toEqual([made[2], made[1]]);
    const next = await get<Runs>('nasa/viewer', query, { first: 1, after: newest.runs.pageInfo.endCursor });
    expect(next.runs.edges.map(({ node }) => node.id)).toEqual([made[0]]);
    const oldest = await get<Runs>('nasa/viewer', query, {
      orderBy: { direction: 'ASC' },
      filter: {
        status: ['PENDING'],
        pipeline: 'readings',
        contentType: 'TEXT',
        useCase: 'RESEARCH',
        createdAfter: '2020-01-01T00:00:00Z',
        createdBefore: '2120-01-01T00:00:00Z',
      },
    });
    expect(oldest.runs.edges.slice(-3).map(({ node }) => node.id)).toEqual(made);
    expect((await get<Runs>('nasa/viewer', query, { filter: { status: ['FAILED'] } })).runs.edges).toEqual([]);
    const wrong = await ask('nasa/viewer', query, {
      orderBy: { direction: 'ASC' },
      after: newest.runs.pageInfo.endCursor,
    });
    expect(wrong.errors?.[0]?.extensions).toMatchObject({ code: 'INVALID_INPUT' });
    expect((await ask('nasa/viewer', query, { first: 0 })).errors?.[0]?.extensions).toMatchObject({
      code: 'INVALID_INPUT',
    });
  });

  it('shows a run’s parts: partitions, counts, load, checkpoints and rejected records', async () => {
    const { id, runId } = await newRun();
    await workOn(runId);
    const query = `query ($id: ID!) { run(id: $id) {
      pipeline { name version }
      progress { stage step recordsRead recordsTotal fraction estimateSource ratePerSecond etaAt }
      partitions { partitionNo kind status recordsRead }
      load { dataset loadNo status recordCount }
      reconciliation { balanced differences recordsRead recordsWritten recordsRejected recordsFiltered destinationCount steps { step recordsIn recordsOut } }
      checkpoints(first: 1) { edges { cursor node { id partition version status cursor hash previousHash integrity counts { read rejected } run { runId } } } pageInfo { hasNextPage endCursor } }
      rejectedRecords { edges { node { recordNo raw reasons { path rule message } } } }
      failure { code }
    } }`;
    const { run } = await get<{
      run: Record<string, unknown> & { checkpoints: { edges: { cursor: string; node: { id: string } }[] } };
    }>('nasa/operator', query, { id });
    expect(run).toMatchObject({
      pipeline: { name: 'readings', version: 1 },
      progress: {
        stage: 'FULL',
        step: 'batches',
        recordsRead: '10',
        recordsTotal: '40',
        fraction: 0.25,
        estimateSource: 'EXACT',
      },
      partitions: [
        { partitionNo: 0, kind: 'PLAN' },
        { partitionNo: 1, kind: 'BATCHES', recordsRead: '10' },
      ],
      load: { dataset: 'readings', loadNo: '1', status: 'OPEN', recordCount: null },
      reconciliation: {
        balanced: false,
        differences: ['write: 9 in, 8 accounted for'],
        recordsRead: '10',
        recordsWritten: '8',
        recordsRejected: '1',
        destinationCount: null,
        steps: [
          { step: 'read', recordsIn: '10', recordsOut: '9' },
          { step: 'write', recordsIn: '9', recordsOut: '8' },
        ],
      },
      checkpoints: {
        edges: [
          {
            node: {
              partition: 1,
              version: 1,
              status: 'IN_PROGRESS',
              cursor: '{"offset":10}',
              integrity: 'VERIFIED',
              previousHash: null,
              counts: { read: '10', rejected: '1' },
              run: { runId },
            },
          },
        ],
        pageInfo: { hasNextPage: true },
      },
      rejectedRecords: { edges: [{ node: { recordNo: '3', raw: 'x', reasons: [{ path: '/year', rule: 'type' }] } }] },
      failure: null,
    });
    const [edge] = run.checkpoints.edges;
    const second = await get<{ run: { checkpoints: { edges: unknown[] } } }>(
      'nasa/operator',
      'query ($id: ID!, $after: String) { run(id: $id) { checkpoints(after: $after) { edges { node { version integrity cursor counts { read } } } } } }',
      { id, after: edge?.cursor },
    );
    expect(second.run.checkpoints.edges).toEqual([
      { node: { version: 2, integrity: 'CORRUPTED', cursor: null, counts: null } },
    ]);
    const node = 'query ($id: ID!) { node(id: $id) { __typename ... on Checkpoint { version } } }';
    expect(await get('nasa/viewer', node, { id: edge?.node.id })).toEqual({
      node: { __typename: 'Checkpoint', version: 1 },
    });
    expect((await get<{ node: unknown }>('noaa/viewer', node, { id: edge?.node.id })).node).toBeNull();
  });
});

/** What a worker would have left in the middle of a run; the second checkpoint is damaged. */
async function workOn(runId: string): Promise<void> {
  await append(database, 'nasa', runId, [{ name: 'RunStarted', message: 'started' }], starts);
  const admin = database.admin();
  await admin.query(sql`update flux.runs set records_total = 40, bytes_total = 400 where run_id = ${runId}`);
  await admin.query(sql`update flux.run_partitions set status = 'COMPLETED' where run_id = ${runId}`);
  await admin.query(sql`
    insert into flux.run_partitions (agency_id, run_id, partition_no, kind, stage, records_read) values ('nasa', ${runId}, 1, 'BATCHES', 'FULL', 10)
  `);
  await admin.query(sql`
    insert into flux.step_counts (agency_id, run_id, partition_no, position, stage, step, kind, records_in, records_out, records_rejected)
    values ('nasa', ${runId}, 1, 0, 'INGEST', 'read', 'read', 10, 9, 1), ('nasa', ${runId}, 1, 1, 'EXPORT', 'write', 'write', 9, 8, 0)
  `);
  await admin.query(sql`insert into flux.datasets (agency_id, name, columns) values ('nasa', 'readings', '[]')`);
  await admin.query(
    sql`insert into flux.loads (agency_id, dataset, load_no, run_id, mode, columns) values ('nasa', 'readings', 1, ${runId}, 'replace', '[]')`,
  );
  await admin.query(sql`
    insert into flux.rejected_records (agency_id, run_id, record_no, partition_no, reasons, raw)
    values ('nasa', ${runId}, 3, 1, '[{"path": "/year", "rule": "type", "message": "expected an integer"}]', 'x')
  `);
  const told = (version: number, previousHash: string | null) => ({
    agency: 'nasa',
    run: runId,
    partition: 1,
    version,
    epoch: 1,
    previousHash,
    cursor: '{"offset":10}',
    counts: { read: 10, written: 8, rejected: 1, filtered: 0, bytes: 100 },
  });
  const rw = database.agencyPool('nasa');
  let hash: string | null = null;
  for (const version of [1, 2]) {
    const body = canonicalBytes(told(version, hash));
    const { rows } = await rw.query<{ hash: string }>(sql`
      with saved as (
        select flux.save_checkpoint(${runId}, 1, ${version}, 1, 'IN_PROGRESS', 'write', ${body}, sha256(${body}))
      )
      select encode(sha256(${body}), 'hex') as hash from saved
    `);
    hash = rows[0]?.hash ?? null;
    const saved = { name: 'CheckpointSaved', message: 'Saved.', partitionNo: 1, data: { version, hash } } as const;
    await append(database, 'nasa', runId, [saved]);
  }
  await admin.query(sql`update flux.checkpoints set body = body || ' '::bytea where run_id = ${runId} and version = 2`);
}

describe('watching over a WebSocket', () => {
  const watch = `subscription ($runId: ID!, $after: String) { runEvents(runId: $runId, after: $after) {
    __typename
    ... on RunEvent { seq cursor name }
    ... on StreamEnd { status attempt lastSeq cursor }
  } }`;
  interface Item {
    __typename: string;
    cursor: string;
    seq?: string;
  }
  const itemOf = (result: { data?: unknown; errors?: unknown } | undefined): Item => {
    expect(result?.errors).toBeUndefined();
    return (result?.data as { runEvents: Item }).runEvents;
  };
  const wake = (runId: string): Promise<void> => notify(database.admin(), channels.runEvents, runId);

  it('delivers live, goes on after the last cursor on a new connection, and completes after the end', async () => {
    const { id, runId } = await newRun();
    const first = socket('nasa/viewer');
    const stream = first.iterate({ query: watch, variables: { runId: id } });
    const queued = itemOf((await stream.next()).value);
    expect(queued).toMatchObject({ __typename: 'RunQueued', seq: '1' });
    await first.dispose();

    await append(database, 'nasa', runId, [{ name: 'RunStarted', message: 'started' }], starts);
    const second = socket('nasa/viewer');
    const rest = second.iterate({ query: watch, variables: { runId, after: queued.cursor } });
    expect(itemOf((await rest.next()).value)).toMatchObject({ __typename: 'RunStarted', seq: '2' });
    await append(database, 'nasa', runId, [{ name: 'RunCompleted', message: 'done' }], completes);
    await wake(runId);
    expect(itemOf((await rest.next()).value)).toMatchObject({ __typename: 'RunCompleted', seq: '3' });
    const end = itemOf((await rest.next()).value);
    expect(end).toMatchObject({ __typename: 'StreamEnd', status: 'COMPLETED', attempt: 1, lastSeq: '3' });
    expect(await rest.next()).toMatchObject({ done: true });
    await second.dispose();

    const log = await get<{ runEventLog: { edges: { node: { name: string } }[] } }>(
      'nasa/viewer',
      'query ($runId: ID!, $after: String) { runEventLog(runId: $runId, after: $after, first: 1) { edges { node { name } } pageInfo { hasNextPage } } }',
      { runId, after: queued.cursor },
    );
    expect(log).toEqual({
      runEventLog: { edges: [{ node: { name: 'RunStarted' } }], pageInfo: { hasNextPage: true } },
    });
  });

  it('stops the source when the client completes while no event is pending', async () => {
    const { id } = await newRun();
    const client = socket('nasa/viewer');
    const before = hints.stats().waiters;
    const stream = client.iterate({ query: watch, variables: { runId: id } });
    await stream.next();
    await until(() => hints.stats().waiters === before + 1);
    await stream.return?.();
    await until(() => hints.stats().waiters === before);
    await client.dispose();
  });

  it('shows progress until the run is over', async () => {
    const { id, runId } = await newRun();
    const client = socket('nasa/viewer');
    const stream = client.iterate({
      query:
        'subscription ($runId: ID!) { runProgress(runId: $runId, maxPerSecond: 20) { status recordsRead fraction } }',
      variables: { runId: id },
    });
    expect((await stream.next()).value).toEqual({
      data: { runProgress: { status: 'PENDING', recordsRead: '0', fraction: null } },
    });
    await append(database, 'nasa', runId, [{ name: 'RunStarted', message: 'started' }], starts);
    await append(database, 'nasa', runId, [{ name: 'RunCompleted', message: 'done' }], completes);
    await wake(runId);
    const items: unknown[] = [];
    for await (const item of stream) items.push((item.data as { runProgress: { status: string } }).runProgress.status);
    expect(items.at(-1)).toBe('COMPLETED');
    await client.dispose();
  });

  it.each([
    ['a run of another agency', 'noaa/admin/5', (id: string) => ({ runId: id }), 'NOT_FOUND'],
    ['a run that does not exist', 'nasa/viewer', () => ({ runId: randomUUID() }), 'NOT_FOUND'],
    ['what is no id', 'nasa/viewer', () => ({ runId: 'x' }), 'NOT_FOUND'],
    [
      'a cursor that was never given out',
      'nasa/viewer',
      (id: string) => ({ runId: id, after: 'WyI5OSJd.AAAAAAAAAAAAAAAAAAAAAA' }),
      'INVALID_INPUT',
    ],
  ])('refuses %s by name, and leaves the connection open', async (_what, token, variables, code) => {
    const { id } = await newRun();
    const client = socket(token);
    const errorOf = async (query: string, args: Record<string, unknown>): Promise<unknown> => {
      try {
        for await (const { errors } of client.iterate({ query, variables: args }))
          return errors?.[0]?.extensions?.['code'];
        return 'nothing';
      } catch (errors) {
        return (errors as { extensions: Record<string, unknown> }[])[0]?.extensions['code'];
      }
    };
    expect(await errorOf(watch, variables(id))).toBe(code);
    expect(await errorOf('{ viewer { agency } }', {})).toBeUndefined();
    await client.dispose();
  });

  it('refuses a rate of progress that is none', async () => {
    const { id } = await newRun();
    const client = socket('nasa/viewer');
    const stream = client.iterate({
      query: 'subscription ($runId: ID!) { runProgress(runId: $runId, maxPerSecond: 0) { status } }',
      variables: { runId: id },
    });
    const [failed] = await Promise.allSettled([stream.next()]);
    expect(JSON.stringify(failed)).toContain('INVALID_INPUT');
    await client.dispose();
  });
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}
