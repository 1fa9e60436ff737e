/** The verbs on runs are mutations, commands and REST calls, and all three leave the same behind; a dry run, nothing but itself. */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, expect, it } from 'vitest';

import type { Role } from '../../src/auth/roles.ts';
import { sql } from '../../src/db/sql.ts';
import { FluxError } from '../../src/errors.ts';
import { graphqlPath } from '../../src/server/start-server.ts';
import { auditOf, principalOf } from '../support/api.ts';
import { type ApiServer, startApiServer } from '../support/api-server.ts';
import { useDatabase } from '../support/database.ts';
import { fakeEngine, type FakeSource } from '../support/fake-engine.ts';
import { flux } from '../support/flux.ts';
import { until } from '../support/runs.ts';
import { allRows, changedRows } from '../support/table-rows.ts';
import { type PipelineOptions, useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const source: FakeSource = { values: [1, 2, 3, 4, 5, 6], partitions: 2, batchRecords: 2 };
let server: ApiServer;
let home: string;

beforeAll(async () => {
  await database.addAgency('nasa');
  home = await mkdtemp(path.join(tmpdir(), 'flux home '));
  server = await startApiServer(database, {
    environment: 'development',
    authenticator: {
      authenticate(token) {
        const [agency = '', role = 'viewer'] = token.split('/');
        return Promise.resolve(principalOf(agency, { role: role as Role }));
      },
    },
  });
});
afterAll(async () => {
  await server.stop();
  await rm(home, { recursive: true, force: true });
});

const token = 'nasa/operator';
let pipelineCount = 0;

async function queued(contract: PipelineOptions['contract'] = {}): Promise<{ pipeline: string; runId: string }> {
  pipelineCount += 1;
  const pipeline = `p${String(pipelineCount)}`;
  await bench.addPipeline({ agency: 'nasa', name: pipeline, dataset: pipeline, contract });
  return { pipeline, runId: await bench.queueRun('nasa', pipeline) };
}
async function completed(): Promise<{ pipeline: string; runId: string }> {
  const run = await queued();
  await bench.drain(await bench.deps(fakeEngine(source)));
  return run;
}
async function failed(): Promise<{ pipeline: string; runId: string }> {
  const run = await queued();
  const beforeBatch: FakeSource['beforeBatch'] = ({ partition, batch }) => {
    if (partition === 2 && batch === 2) throw new FluxError('TRANSFORM_FAILED', 'broken on purpose');
  };
  await bench.drain(await bench.deps(fakeEngine({ ...source, beforeBatch })));
  return run;
}
async function rejecting(): Promise<{ pipeline: string; runId: string }> {
  const run = await queued({ maxRejectedRatio: 0.5 });
  await bench.drain(await bench.deps(fakeEngine({ ...source, values: [1, 2, 'bad', 4, 5, 6] })));
  return run;
}
async function checkpointOf(runId: string): Promise<string> {
  const { rows } = await database.admin().query<{ id: string }>(sql`
    select checkpoint_id as id from flux.checkpoints where run_id = ${runId} order by partition_no, version limit 1
  `);
  return (rows[0] as { id: string }).id;
}

interface Verb {
  mutation: string;
  action: string;
  /** Makes what the verb is done to. */
  prepare(): Promise<{ pipeline: string; runId: string }>;
  input(run: { pipeline: string; runId: string }): Promise<Record<string, unknown>>;
  command(input: Record<string, unknown>): string[];
}

const reason = 'because';
const text = (value: unknown): string => String(value);
const verbs: Verb[] = [
  {
    mutation: 'startRun',
    action: 'run.start',
    prepare: () => queued(),
    input: ({ pipeline }) => Promise.resolve({ pipeline, priority: 3 }),
    command: ({ pipeline }) => ['start', text(pipeline), '--priority', '3'],
  },
  {
    mutation: 'cancelRun',
    action: 'run.cancel',
    prepare: () => queued(),
    input: ({ runId }) => Promise.resolve({ runId, reason }),
    command: ({ runId }) => ['cancel', text(runId), '--reason', reason],
  },
  {
    mutation: 'resumeRun',
    action: 'run.resume',
    prepare: failed,
    input: ({ runId }) => Promise.resolve({ runId, reason }),
    command: ({ runId }) => ['resume', text(runId), '--reason', reason],
  },
  {
    mutation: 'rerunRun',
    action: 'run.rerun',
    prepare: completed,
    input: ({ runId }) => Promise.resolve({ runId, pipeline: 'CURRENT', reason }),
    command: ({ runId }) => ['rerun', text(runId), '--current', '--reason', reason],
  },
  {
    mutation: 'forkRun',
    action: 'run.fork',
    prepare: failed,
    input: async ({ runId }) => ({ checkpointId: await checkpointOf(runId), reason }),
    command: ({ checkpointId }) => ['fork', text(checkpointId), '--reason', reason],
  },
  {
    mutation: 'replayRun',
    action: 'run.replay',
    prepare: completed,
    input: ({ runId }) => Promise.resolve({ runId, reason }),
    command: ({ runId }) => ['replay', text(runId), '--reason', reason],
  },
  {
    mutation: 'reprocessRejected',
    action: 'run.reprocess',
    prepare: rejecting,
    input: ({ runId }) => Promise.resolve({ runId, reason }),
    command: ({ runId }) => ['reprocess', text(runId), '--reason', reason],
  },
  {
    mutation: 'cancelRuns',
    action: 'runs.cancel',
    prepare: () => queued(),
    input: ({ pipeline }) => Promise.resolve({ filter: { pipeline }, reason }),
    command: ({ filter }) => [
      ...['cancel', '--all', '--pipeline', (filter as { pipeline: string }).pipeline],
      ...['--reason', reason, '--no-wait'],
    ],
  },
  {
    mutation: 'resumeRuns',
    action: 'runs.resume',
    prepare: failed,
    input: ({ pipeline }) => Promise.resolve({ filter: { pipeline }, reason }),
    command: ({ filter }) => [
      ...['resume', '--all', '--pipeline', (filter as { pipeline: string }).pipeline],
      ...['--reason', reason, '--no-wait'],
    ],
  },
];

type Transport = (verb: Verb, input: Record<string, unknown>) => Promise<void>;

async function post(address: string, body: unknown): Promise<Record<string, unknown>> {
  const response = await fetch(`${server.url}${address}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify(body),
  });
  const answer = (await response.json()) as Record<string, unknown>;
  expect(response.status, JSON.stringify(answer)).toBe(200);
  return answer;
}

const transports: Record<string, Transport> = {
  async mutation({ mutation }, input) {
    const type = `${(mutation[0] as string).toUpperCase()}${mutation.slice(1)}Input`;
    const query = `mutation ($input: ${type}!) { done: ${mutation}(input: $input) { __typename ... on Error { code message } } }`;
    const { data, errors } = await post(graphqlPath, { query, variables: { input } });
    expect(errors).toBeUndefined();
    expect(data).not.toMatchObject({ done: { code: expect.anything() as unknown } });
  },
  async REST({ mutation }, input) {
    await post(`/v1/rest/${mutation.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`, input);
  },
  async command({ command }, input) {
    const env = { FLUX_URL: server.url, FLUX_TOKEN: token };
    expect(await flux(['runs', ...command(input)], { home, env })).toMatchObject({ code: 0, stderr: '' });
  },
};

/** What a verb left behind: its audit entry, the run it was done to, and the runs that came of it. */
async function left({ pipeline, runId }: { pipeline: string; runId: string }, entriesBefore: number): Promise<unknown> {
  const { rows } = await database.admin().query(sql`
    select status, attempt, priority, pipeline_version, payload ->> 'checkpoint_id' is not null as of_checkpoint,
      rerun_of = ${runId} as rerun, forked_from = ${runId} as fork, reprocess_of = ${runId} as reprocess
    from flux.runs
    where pipeline_name = ${pipeline}
    order by run_id
  `);
  const entries = (await auditOf(database, 'nasa')).slice(entriesBefore);
  return {
    runs: rows,
    entries: entries.map(({ action, success, actor, body }) => ({ action, success, actor, reason: body['reason'] })),
  };
}

it.each(verbs)(
  '$mutation is a mutation, a command and a REST call of one outcome',
  { timeout: 180_000 },
  async (verb) => {
    const outcomes: unknown[] = [];
    for (const perform of Object.values(transports)) {
      const run = await verb.prepare();
      const input = await verb.input(run);
      const before = (await auditOf(database, 'nasa')).length;
      await perform(verb, input);
      outcomes.push(await left(run, before));
    }
    const [first, ...others] = outcomes;
    expect((first as { entries: { action: string; success: boolean }[] }).entries).toContainEqual(
      expect.objectContaining({ action: verb.action, success: true }),
    );
    for (const other of others) expect(other).toEqual(first);
  },
);

const dryRun: Verb = {
  mutation: 'startRun',
  action: 'run.start',
  prepare: completed,
  // The command gives a key in any case.
  input: ({ pipeline }) => Promise.resolve({ pipeline, dryRun: true, idempotencyKey: randomUUID() }),
  command: ({ pipeline, idempotencyKey }) => [
    ...['start', text(pipeline), '--dry-run'],
    ...['--idempotency-key', text(idempotencyKey)],
  ],
};

/** The command waits for the plan, so somebody has to work beside it. */
async function performAndWork(perform: Transport, input: Record<string, unknown>): Promise<void> {
  const deps = await bench.deps(fakeEngine(source));
  let asked = false;
  const performing = perform(dryRun, input).finally(() => (asked = true));
  performing.catch(() => undefined);
  await until(async () => {
    const outcomes = await bench.drain(deps);
    return outcomes.length > 0 || asked;
  });
  await performing;
  await bench.drain(deps);
}

it.each(Object.entries(transports))(
  'startRun as a dry run, as a %s, plans the run and writes nothing but itself',
  { timeout: 180_000 },
  async (_name, perform) => {
    const run = await dryRun.prepare();
    const { pipeline } = run;
    const before = await allRows(database);
    await performAndWork(perform, await dryRun.input(run));
    const changes = changedRows(before, await allRows(database));
    // The run's row, its partition, its history from RunQueued to RunCompleted, the entries of request, taking and end, the request's
    // key, and whose turn it is: one row of an account, written anew.
    expect(changes).toEqual({
      'flux.runs': { added: 1, gone: 0 },
      'flux.run_partitions': { added: 1, gone: 0 },
      'flux.run_events': { added: 4, gone: 0 },
      'flux.audit_inbox': { added: 3, gone: 0 },
      'flux.idempotency_keys': { added: 1, gone: 0 },
      'flux.agency_turns': { added: 1, gone: 1 },
    });
    const { rows } = await database.admin().query<{ id: string }>(sql`
      select run_id as id from flux.runs where pipeline_name = ${pipeline} order by run_id desc limit 1
    `);
    const query = `query ($id: ID!) { run(id: $id) { status dryRun dryRunPlan { recordsTotal destination { dataset exists } } } }`;
    const { data } = await post(graphqlPath, { query, variables: { id: rows[0]?.id } });
    expect(data).toMatchObject({
      run: {
        status: 'COMPLETED',
        dryRun: true,
        dryRunPlan: { recordsTotal: '6', destination: { dataset: pipeline, exists: true } },
      },
    });
  },
);

it(
  'resumePlan and the verification of checkpoints are a field, an option and part of the REST resource',
  { timeout: 180_000 },
  async () => {
    const { runId } = await failed();
    const query = `query ($id: ID!) { run(id: $id) {
    resumePlan { partitions { partitionNo disposition } } checkpointVerification { verified checkpointCount }
  } }`;
    const { data } = await post(graphqlPath, { query, variables: { id: runId } });
    const asked = (data as { run: Record<string, { partitions?: { disposition: string }[] }> }).run;
    const response = await fetch(`${server.url}/v1/rest/run/${runId}`, {
      headers: { authorization: `Bearer ${token}` },
    });
    expect(await response.json()).toMatchObject(asked);
    const env = { FLUX_URL: server.url, FLUX_TOKEN: token };
    const plan = await flux(['runs', 'resume', runId, '--plan'], { home, env });
    for (const { disposition } of asked['resumePlan']?.partitions ?? []) expect(plan.stdout).toContain(disposition);
    expect(await flux(['runs', 'checkpoints', runId, '--verify'], { home, env })).toMatchObject({ code: 0 });
    expect(asked['checkpointVerification']).toMatchObject({ verified: true });
  },
);
