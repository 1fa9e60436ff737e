import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createContext } from '../../resolvers/context.ts';
import { schema } from '../../schema/schema.ts';
import type { Role } from '../../src/auth/roles.ts';
import { sealKey } from '../../src/db/migrate.ts';
import { sql } from '../../src/db/sql.ts';
import { FluxError } from '../../src/errors.ts';
import { graphqlPath, type RunningServer, startServer } from '../../src/server/start-server.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { executePartition } from '../../src/worker/execute-partition.ts';
import { apiDeps, auditOf, principalOf } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { fakeEngine, type FakeSource } from '../support/fake-engine.ts';
import { type Ended, flux } from '../support/flux.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const source: FakeSource = { values: [1, 2, 3, 4, 5, 6], partitions: 2, batchRecords: 2 };
let server: RunningServer;
let home: string;

beforeAll(async () => {
  await database.addAgency('nasa');
  await database.addAgency('noaa');
  // Without a worker that is there every run would wait for one.
  await database
    .admin()
    .query(sql`insert into flux.workers (worker_id, state, seen_at) values ('w', 'WORKING', 'infinity')`);
  home = await mkdtemp(path.join(tmpdir(), 'flux home '));
  const api = apiDeps(database);
  server = await startServer(
    { environment: 'development', host: '127.0.0.1', port: 0 },
    {
      schema,
      // Who may speak for whom is test/unit/auth's affair; here a token is `<agency>/<role>`.
      authenticator: {
        authenticate(token) {
          const [agency = '', role = 'viewer'] = token.split('/');
          return Promise.resolve(principalOf(agency, { role: role as Role }));
        },
      },
      seal: sealKey(database.contextKey),
      createContext: (request) => createContext(api, request),
      readiness: {},
      logger: createLogger({ service: 'api', level: 'fatal' }),
    },
  );
});
afterAll(async () => {
  await server.stop();
  await rm(home, { recursive: true, force: true });
});

interface Answer<T> {
  data: T;
  errors?: { extensions: { code: string } }[];
}

async function post<T>(token: string, query: string, variables: Record<string, unknown>): Promise<Answer<T>> {
  const response = await fetch(`${server.url}${graphqlPath}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify({ query, variables }),
  });
  return (await response.json()) as Answer<T>;
}
async function ask<T>(token: string, query: string, variables: Record<string, unknown> = {}): Promise<T> {
  const { data, errors } = await post<T>(token, query, variables);
  expect(errors).toBeUndefined();
  return data;
}
const control = (verb: string, input: Record<string, unknown>, token = 'nasa/operator') =>
  ask<Record<string, Record<string, unknown>>>(
    token,
    `mutation ($input: ${verb[0]?.toUpperCase() ?? ''}${verb.slice(1)}Input!) {
      ${verb}(input: $input) {
        __typename ... on Run { id runId status attempt cancelDeadline } ... on Error { code message }
      }
    }`,
    { input },
  ).then((data) => data[verb] as Record<string, unknown>);
async function standing(runId: string, token = 'nasa/operator'): Promise<Record<string, unknown>> {
  const { run } = await ask<{ run: Record<string, unknown> }>(
    token,
    `query ($id: ID!) { run(id: $id) {
      status
      waitingReason { code message queuePosition until }
      cancel: can(action: CANCEL) { allowed reason } resume: can(action: RESUME) { allowed reason }
      rerun: can(action: RERUN) { allowed reason } fork: can(action: FORK) { allowed reason }
      lineage {
        resumedFrom { name attempt } rerunOf { runId } forkedFrom { runId } forkedFromCheckpoint { partition version }
      }
      resumePlan { attempt forbiddenBy { code } partitions { partitionNo disposition recordsKept checkpoint { version integrity } } }
      checkpoints { edges { node { id } } }
    } }`,
    { id: runId },
  );
  return run;
}
async function queue(name: string): Promise<string> {
  await bench.addPipeline({ agency: 'nasa', name, dataset: name });
  return bench.queueRun('nasa', name);
}
const drain = async (more: Partial<FakeSource> = {}) =>
  bench.drain(await bench.deps(fakeEngine({ ...source, ...more })));
const breaks: Partial<FakeSource> = {
  beforeBatch: ({ partition, batch }) => {
    if (partition === 2 && batch === 2) throw new FluxError('TRANSFORM_FAILED', 'broken on purpose');
  },
};
const command = (...args: string[]): Promise<Ended> =>
  flux(args, { home, env: { FLUX_URL: server.url, FLUX_TOKEN: 'nasa/operator' } });

describe('the verbs over GraphQL', () => {
  it('cancel, resume, fork and rerun, each with where the run stands and comes from', async () => {
    const runId = await queue('verbs');
    expect(await standing(runId)).toMatchObject({
      status: 'PENDING',
      waitingReason: { code: 'QUEUED', queuePosition: 1, until: null },
      cancel: { allowed: true, reason: null },
      resume: { allowed: false },
      rerun: { allowed: true },
      fork: { allowed: false },
      lineage: { resumedFrom: null, rerunOf: null, forkedFrom: null, forkedFromCheckpoint: null },
    });
    await drain(breaks);
    const failed = await standing(runId);
    expect(failed).toMatchObject({
      status: 'FAILED',
      waitingReason: null,
      cancel: { allowed: false },
      resume: { allowed: true, reason: null },
      fork: { allowed: true },
      resumePlan: {
        attempt: 2,
        forbiddenBy: null,
        partitions: [
          { disposition: 'KEPT' },
          { disposition: 'KEPT', recordsKept: '3' },
          { disposition: 'CONTINUED', recordsKept: '2', checkpoint: { version: 1, integrity: 'VERIFIED' } },
        ],
      },
    });
    expect(await control('resumeRun', { runId, reason: 'repaired' })).toMatchObject({ status: 'PENDING', attempt: 2 });
    expect(await standing(runId)).toMatchObject({ lineage: { resumedFrom: { name: 'RunFailed', attempt: 1 } } });
    expect(await control('cancelRun', { runId, reason: 'not now' })).toMatchObject({ status: 'CANCELLED' });

    const { edges } = failed['checkpoints'] as { edges: { node: { id: string } }[] };
    const checkpointId = edges.at(-1)?.node.id;
    const fork = await control('forkRun', { checkpointId, reason: 'another way' });
    expect(await standing(String(fork['runId']))).toMatchObject({
      lineage: { forkedFrom: { runId }, forkedFromCheckpoint: { partition: 2, version: 1 } },
    });
    const rerun = await control('rerunRun', { runId });
    expect(await standing(String(rerun['runId']))).toMatchObject({
      waitingReason: { code: 'QUEUED', queuePosition: 2 },
      lineage: { rerunOf: { runId }, forkedFrom: null },
    });
    await drain();
    expect(await standing(String(rerun['runId']))).toMatchObject({ status: 'COMPLETED', resume: { allowed: false } });
  });

  it('answer what is refused as a typed result', async () => {
    const runId = await queue('refusals');
    expect(await control('resumeRun', { runId, reason: 'why not' })).toMatchObject({
      __typename: 'ValidationError',
      code: 'INVALID_TRANSITION',
    });
    expect(await control('cancelRun', { runId, reason: '  ' })).toMatchObject({ code: 'INVALID_INPUT' });
    expect(await control('cancelRun', { runId: 'x', reason: 'y' })).toMatchObject({ code: 'NOT_FOUND' });
    expect(await control('forkRun', { checkpointId: 'x', reason: 'y' })).toMatchObject({ code: 'NOT_FOUND' });
    expect(await control('cancelRun', { runId, reason: 'not mine' }, 'noaa/admin')).toMatchObject({
      code: 'NOT_FOUND',
    });
    await control('cancelRun', { runId, reason: 'tidy' });
  });

  it('need run:write, and say so beforehand', async () => {
    const runId = await queue('viewed');
    expect(await standing(runId, 'nasa/viewer')).toMatchObject({
      cancel: { allowed: false, reason: 'Your role does not hold run:write.' },
    });
    const cancel = 'mutation ($input: CancelRunInput!) { cancelRun(input: $input) { __typename } }';
    const { errors } = await post('nasa/viewer', cancel, { input: { runId, reason: 'mine' } });
    expect(errors?.map(({ extensions }) => extensions.code)).toEqual(['FORBIDDEN']);
    const denied = (await auditOf(database, 'nasa')).filter(({ error_code }) => error_code === 'FORBIDDEN');
    expect(denied).toMatchObject([{ action: 'run.cancel', success: false }]);
    await control('cancelRun', { runId, reason: 'tidy' });
  });
});

describe('why a run waits', () => {
  it('is a holder that has gone, a failure that may pass, a cancel under way, or an agency that is not enabled', async () => {
    const runId = await queue('waits');
    const claim = await bench.claim('dead', 40);
    await database.admin().query(sql`select pg_sleep(0.05)`);
    expect(await standing(runId)).toMatchObject({ waitingReason: { code: 'BEING_REASSIGNED' } });
    await drain({ beforePin: () => Promise.reject(new FluxError('SOURCE_UNAVAILABLE', 'away')) });
    expect(claim.epoch).toBe(1);
    const backingOff = await standing(runId);
    expect(backingOff).toMatchObject({ waitingReason: { code: 'BACKING_OFF', queuePosition: null } });
    await database.admin().query(sql`update flux.agencies set enabled = false where agency_id = 'nasa'`);
    expect(await standing(runId)).toMatchObject({
      waitingReason: { code: 'AGENCY_DISABLED' },
      rerun: { allowed: false },
      cancel: { allowed: true },
    });
    await database.admin().query(sql`update flux.agencies set enabled = true where agency_id = 'nasa'`);
    await database.admin().query(sql`
      update flux.run_partitions set available_at = clock_timestamp() where run_id = ${runId}
    `);
    const held = await bench.claim('alive', 60_000);
    expect(await standing(runId)).toMatchObject({ waitingReason: null });
    const cancelling = await control('cancelRun', { runId, reason: 'enough', graceSeconds: 60 });
    expect(cancelling).toMatchObject({ status: 'CANCELLING' });
    expect(await standing(runId)).toMatchObject({
      waitingReason: { code: 'CANCELLING', until: cancelling['cancelDeadline'] },
      resume: { allowed: false },
    });
    const outcome = await executePartition(await bench.deps(fakeEngine(source)), held, new AbortController().signal);
    expect(outcome).toBe('cancelled');
    expect(await standing(runId)).toMatchObject({ status: 'CANCELLED', waitingReason: null });
  });
});

describe('the verbs on the command line', () => {
  it('cancel, look, resume, rerun and fork', async () => {
    const runId = await queue('typed');
    const cancelled = await command('runs', 'cancel', runId, '--reason', 'wrong day');
    expect(cancelled).toMatchObject({ code: 0, stderr: '' });
    expect(cancelled.stdout).toMatch(/is CANCELLED\.\n$/);
    const plan = await command('runs', 'resume', runId, '--plan');
    expect(plan).toMatchObject({ code: 0 });
    expect(plan.stdout).toMatch(/0 +PLAN +NEVER_STARTED/);
    const resumed = await command('runs', 'resume', runId, '--reason', 'right day', '--json');
    expect(JSON.parse(resumed.stdout)).toMatchObject({ status: 'PENDING', attempt: 2 });
    await drain();

    const again = await command('runs', 'resume', runId, '--reason', 'once more');
    expect(again).toMatchObject({ code: 1, stdout: '' });
    expect(again.stderr).toMatch(/^INVALID_TRANSITION: .*rerun it/);
    const rerun = await command('runs', 'rerun', runId, '--current');
    expect(rerun).toMatchObject({ code: 0 });
    const { edges } = (await standing(runId))['checkpoints'] as { edges: { node: { id: string } }[] };
    const fork = await command('runs', 'fork', String(edges[0]?.node.id), '--reason', 'look', '--json');
    expect(JSON.parse(fork.stdout)).toMatchObject({ status: 'PENDING', attempt: 1 });
    await drain();
    const replayed = await command('runs', 'replay', runId);
    expect(replayed).toMatchObject({ code: 0, stderr: '' });
    expect(replayed.stdout).toMatch(/events give the run's state: [0-9a-f]{64}\n$/);
  }, 60_000);

  it('ask for a reason', async () => {
    const ended = await command('runs', 'cancel', 'x');
    expect(ended.code).toBe(2);
    expect(ended.stderr).toMatch(/--reason/);
    expect((await command('runs', 'resume', 'x')).stderr).toMatch(/--reason/);
  });
});
