import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { graphql } from 'graphql';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { schema } from '../../schema/schema.ts';
import { sealKey } from '../../src/db/migrate.ts';
import { sql } from '../../src/db/sql.ts';
import { startBulkWorker, workOneBulk } from '../../src/domain/work-bulk.ts';
import { auditOf, type CallerOptions, contextOf } from '../support/api.ts';
import { type ApiServer, startApiServer } from '../support/api-server.ts';
import { useDatabase } from '../support/database.ts';
import { flux } from '../support/flux.ts';
import { createTestIssuer, type TestIssuer } from '../support/tokens.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const running = new AbortController().signal;
let issuer: TestIssuer;
let server: ApiServer;
let home: string;

beforeAll(async () => {
  await database.addAgency('nasa');
  await database.addAgency('noaa');
  home = await mkdtemp(path.join(tmpdir(), 'flux home '));
  issuer = await createTestIssuer('https://login.example.gov');
  server = await startApiServer(database, { issuers: [{ issuer, agencies: ['nasa', 'noaa'] }] });
});
afterAll(async () => {
  await server.stop();
  await rm(home, { recursive: true, force: true });
});

const fields = `
  __typename
  ... on BulkOperation {
    operationId status total pending done skipped failed requestedBy
    items { edges { node { position runId status errorCode errorMessage run { status } } } }
  }
`;
const refusal = '... on Error { code message }';
interface Operation {
  __typename: string;
  code?: string;
  operationId: string;
  status: string;
  total: number;
  pending: number;
  done: number;
  skipped: number;
  failed: number;
  items: { edges: { node: { runId: string; status: string; errorCode: string | null } }[] };
}
async function ask<T>(
  source: string,
  variableValues: Record<string, unknown>,
  agency = 'nasa',
  who: CallerOptions = {},
): Promise<T> {
  const { data, errors } = await graphql({
    schema,
    source,
    variableValues,
    contextValue: contextOf(database, agency, who),
  });
  expect(errors).toBeUndefined();
  return (data as { done: T }).done;
}
const many = (verb: 'cancelRuns' | 'resumeRuns', input: object, agency?: string, who?: CallerOptions) =>
  ask<Operation>(
    `mutation ($input: ${verb === 'cancelRuns' ? 'CancelRunsInput' : 'ResumeRunsInput'}!) { done: ${verb}(input: $input) { ${fields} ${refusal} } }`,
    { input: { reason: 'wrong day', ...input } },
    agency,
    who,
  );
const abort = (id: string, agency?: string) =>
  ask<Operation>(
    `mutation ($input: AbortBulkOperationInput!) { done: abortBulkOperation(input: $input) { ${fields} ${refusal} } }`,
    { input: { id, reason: 'stop' } },
    agency,
  );
const look = (id: string, agency?: string, who?: CallerOptions) =>
  ask<Operation | null>(`query ($id: ID!) { done: bulkOperation(id: $id) { ${fields} } }`, { id }, agency, who);

/** A loop of its own, as another API process has one. */
const loop = (holder: string) => ({
  pool: database.apiPool(),
  logger: { info: () => undefined, warn: () => undefined },
  seal: sealKey(database.contextKey),
  holder,
});
async function workAll(holder = 'a'): Promise<void> {
  while (await workOneBulk(loop(holder), running));
}
const statusOf = async (id: string): Promise<string | undefined> =>
  (await database.admin().query<{ status: string }>(sql`select status from flux.runs where run_id = ${id}`)).rows[0]
    ?.status;

let pipeline: string;
let n = 0;
async function queue(count: number, agency = 'nasa'): Promise<string[]> {
  const runs: string[] = [];
  for (let i = 0; i < count; i += 1) runs.push(await bench.queueRun(agency, pipeline));
  return runs;
}
beforeEach(async () => {
  n += 1;
  pipeline = `p${String(n)}`;
  await bench.addPipeline({ agency: 'nasa', name: pipeline, dataset: pipeline });
});

describe('an operation on many runs', () => {
  it('means the runs that the filter found when it was asked, and no later one', async () => {
    const runs = await queue(3);
    const asked = await many('cancelRuns', { filter: { pipeline } });
    expect(asked).toMatchObject({ status: 'RUNNING', total: 3, pending: 3, done: 0, requestedBy: 'pat@example.gov' });
    const [later] = await queue(1);
    await workAll();
    const after = await look(asked.operationId);
    expect(after).toMatchObject({ status: 'COMPLETED', total: 3, pending: 0, done: 3, skipped: 0, failed: 0 });
    expect(after?.items.edges.map(({ node }) => node.runId)).toEqual(runs);
    expect(await statusOf(later as string)).toBe('PENDING');
    for (const run of runs) expect(await statusOf(run)).toBe('CANCELLED');

    const resumed = await many('resumeRuns', { filter: { pipeline } });
    await workAll();
    expect(await look(resumed.operationId)).toMatchObject({ status: 'COMPLETED', total: 3, done: 3 });
    for (const run of runs) expect(await statusOf(run)).toBe('PENDING');
  });

  it('leaves an audit entry for each run, in the name of who asked', async () => {
    const runs = await queue(2);
    const who = { subject: `${pipeline}@example.gov` };
    await many('cancelRuns', { filter: { pipeline } }, 'nasa', who);
    await workAll();
    const entries = (await auditOf(database, 'nasa')).filter(({ actor }) => actor === who.subject);
    expect(entries.map(({ action }) => action)).toEqual([
      'runs.cancel',
      'run.cancel',
      'run.cancel',
      'runs.cancel.complete',
    ]);
    expect(entries.slice(1, 3).map(({ resource_id }) => resource_id)).toEqual(runs);
  });

  it('passes over a run whose state has changed, with the reason', async () => {
    const [first, second] = await queue(2);
    const asked = await many('resumeRuns', { filter: { pipeline } });
    expect(asked).toMatchObject({ status: 'COMPLETED', total: 0 });
    await many('cancelRuns', { filter: { pipeline } });
    await workAll();
    const resume = await many('resumeRuns', { filter: { pipeline } });
    await ask(`mutation ($input: ResumeRunInput!) { done: resumeRun(input: $input) { __typename } }`, {
      input: { runId: first, reason: 'by hand' },
    });
    await workAll();
    const after = await look(resume.operationId);
    expect(after).toMatchObject({ status: 'COMPLETED', done: 1, skipped: 1, failed: 0 });
    expect(after?.items.edges.map(({ node }) => node)).toMatchObject([
      { runId: first, status: 'SKIPPED', errorCode: 'INVALID_TRANSITION' },
      { runId: second, status: 'DONE', errorCode: null },
    ]);
  });

  it('goes on with another holder when the first one’s lease is over, and not before', async () => {
    const runs = await queue(4);
    const asked = await many('cancelRuns', { filter: { pipeline } });
    // It did two runs, and died: nothing of it is heard again.
    const claimed = await database.admin().query(sql`
      update flux.bulk_operations set leased_by = 'dies', lease_expires_at = clock_timestamp() + interval '1 hour'
      where operation_id = ${asked.operationId}
    `);
    expect(claimed.rowCount).toBe(1);
    for (const run of runs.slice(0, 2)) {
      await ask(
        `mutation ($input: CancelRunInput!) { done: cancelRun(input: $input) { __typename } }`,
        // The second run's cancel committed, and the process died before it could say so.
        { input: { runId: run, reason: 'wrong day', idempotencyKey: `bulk:${asked.operationId}:${run}` } },
      );
    }
    expect(await workOneBulk(loop('b'), running)).toBe(false);
    expect(await look(asked.operationId)).toMatchObject({ status: 'RUNNING', pending: 4 });
    await database.admin().query(sql`
      update flux.bulk_operations set lease_expires_at = clock_timestamp() where operation_id = ${asked.operationId}
    `);
    await workAll('b');
    expect(await look(asked.operationId)).toMatchObject({ status: 'COMPLETED', done: 4, skipped: 0, failed: 0 });
    const { rows } = await database.admin().query<{ n: number }>(sql`
      select count(*)::int as n from flux.run_events where run_id = any (${runs}::uuid[]) and name = 'CancelRequested'
    `);
    expect(rows[0]?.n).toBe(4);
  });

  it('stops when it is aborted; what is done stays done, and asking again changes nothing', async () => {
    const runs = await queue(2);
    const asked = await many('cancelRuns', { filter: { pipeline } });
    expect(await abort(asked.operationId)).toMatchObject({ status: 'ABORTED', pending: 2 });
    expect(await abort(asked.operationId)).toMatchObject({ status: 'ABORTED', pending: 2 });
    await workAll();
    for (const run of runs) expect(await statusOf(run)).toBe('PENDING');
    const done = await many('cancelRuns', { filter: { pipeline } });
    await workAll();
    expect(await abort(done.operationId)).toMatchObject({ code: 'INVALID_TRANSITION' });
  });

  it('is an agency’s own, and needs its asker’s clearance to be seen', async () => {
    await queue(1);
    const asked = await many('cancelRuns', { filter: { pipeline } }, 'nasa', { clearance: 2 });
    expect(await look(asked.operationId, 'noaa')).toBeNull();
    expect(await look(asked.operationId, 'nasa', { clearance: 1 })).toBeNull();
    expect(await look(asked.operationId, 'nasa', { clearance: 2 })).toMatchObject({ total: 1 });
    expect(await abort(asked.operationId, 'noaa')).toMatchObject({ code: 'NOT_FOUND' });
    expect(await many('cancelRuns', { filter: { pipeline } }, 'noaa')).toMatchObject({ total: 0 });
    await workAll();
  });

  it('is asked for once under one key, and refused without a condition or a reason', async () => {
    await queue(1);
    const input = { filter: { pipeline }, idempotencyKey: pipeline };
    const first = await many('cancelRuns', input);
    expect((await many('cancelRuns', input)).operationId).toBe(first.operationId);
    expect(await many('cancelRuns', { ...input, filter: { pipeline: 'x' } })).toMatchObject({
      code: 'IDEMPOTENCY_CONFLICT',
    });
    expect(await many('cancelRuns', { filter: {} })).toMatchObject({ code: 'INVALID_INPUT' });
    expect(await many('cancelRuns', { filter: { pipeline }, reason: ' ' })).toMatchObject({ code: 'INVALID_INPUT' });
    expect(await many('cancelRuns', { filter: { pipeline }, graceSeconds: 0 })).toMatchObject({
      code: 'INVALID_INPUT',
    });
    await workAll();
  });
});

it('the commands follow it to its end, as text and as JSON', async () => {
  await queue(3);
  const worker = startBulkWorker(loop('cli'), { everyMs: 50 });
  const token = await issuer.sign({ agency: 'nasa', role: 'operator', sub: 'pat@example.gov' });
  const command = (...args: string[]) => flux(args, { home, env: { FLUX_URL: server.url, FLUX_TOKEN: token } });
  const cancelled = await command('runs', 'cancel', '--all', '--pipeline', pipeline, '--reason', 'wrong day');
  expect(cancelled).toMatchObject({ code: 0 });
  expect(cancelled.stdout).toMatch(/is COMPLETED\. 3 runs: 3 done, 0 skipped, 0 failed, 0 pending\.\n$/);
  const resumed = await command(
    ...['runs', 'resume', '--all', '--status', 'CANCELLED', '--pipeline', pipeline, '--reason', 'right day', '--json'],
  );
  expect(JSON.parse(resumed.stdout)).toMatchObject({ status: 'COMPLETED', total: 3, done: 3 });
  expect((await command('runs', 'cancel', '--reason', 'x')).code).toBe(2);
  await worker.stop();
}, 60_000);
