/**
 * What processes say about themselves, at the most talkative level, while secrets and personal data go through them and things fail: one id
 * leads from a request to its batches, and nothing that is said holds a secret or a person.
 */
import { randomBytes } from 'node:crypto';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { type Alpha, startAlpha } from '../support/alpha.ts';
import { connectionDocument, contractDocument, pipelineDocument } from '../support/api.ts';
import { eventually, flux } from '../support/flux.ts';

/** Each is unlike anything else in the installation. */
const canaries = {
  ssn: '219-09-9999',
  phone: '(202) 555-0147',
  email: 'canary.person@example.org',
  password: 'canary-password-7Qx',
  apiKey: 'canary-api-key-7Qx',
  bearer: 'canary-bearer-7Qx',
  cookie: 'canary-cookie-7Qx',
};

interface LogLine {
  level: string;
  message: string;
  service: string;
  timestamp: string;
  trace_id?: string;
  fields?: Record<string, unknown>;
}

let alpha: Alpha;
/** Everything that somebody could read: by where it was read. */
let told: Record<string, string>;
let lines: LogLine[];
let runs: { id: string; traceId: string; status: string }[];

const startRun = `mutation ($input: StartRunInput!) {
  startRun(input: $input) { __typename ... on Run { id } ... on Error { code message } }
}`;
const runQuery = `query ($id: ID!) {
  run(id: $id) { status failure { code message } events(first: 100) { edges { node { name message data traceId } } } }
}`;
const registerConnection = `mutation ($input: RegisterConnectionInput!) {
  registerConnection(input: $input) { __typename ... on Error { code message } }
}`;
const auditQuery = 'query { auditEntries(first: 200) { edges { node { action reason before after errorCode } } } }';

beforeAll(async () => {
  alpha = await startAlpha('log lines', {
    readings: ['2001', canaries.ssn, canaries.email, `"${canaries.phone}"`],
    env: { LOG_LEVEL: 'trace' },
  });
  const { home, token } = alpha;
  await alpha.write('notes.csv', `note\n${canaries.ssn} or ${canaries.email}\n`);
  const contract = { name: 'reading', version: 1 };
  await alpha.register('connections', 'files', connectionDocument);
  await alpha.register('contracts', 'reading', contractDocument);
  const pipelines = {
    lenient: { contract: { ...contract, maxRejectedRatio: 0.9 } },
    strict: { contract: { ...contract, onViolation: 'fail' } },
    // An engine's message about a value repeats it.
    cast: {
      source: { connection: 'files', path: 'notes.csv', format: { type: 'csv' } },
      contract: { name: 'note', version: 1 },
      destination: { type: 'postgres', dataset: 'notes', mode: 'replace' },
      transforms: [{ type: 'derive', column: 'number', sql: 'cast(note as integer)' }],
    },
    missing: { source: { connection: 'files', path: 'nothing.csv', format: { type: 'csv' } } },
  };
  const note = { ...contractDocument, properties: { note: { type: 'string' } }, required: ['note'] };
  await alpha.register('contracts', 'note', note);
  for (const [name, more] of Object.entries(pipelines)) {
    await alpha.register('pipelines', name, pipelineDocument(name, more));
  }

  const answers: string[] = [];
  const ask = async (query: string, variables: object, headers: Record<string, string> = {}): Promise<unknown> => {
    const response = await fetch(`${alpha.api}/v1/graphql`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        authorization: `Bearer ${token}`,
        'x-api-key': canaries.apiKey,
        cookie: `session=${canaries.cookie}`,
        ...headers,
      },
      body: JSON.stringify({ query, variables }),
    });
    const text = await response.text();
    answers.push(text);
    return JSON.parse(text);
  };

  runs = [];
  for (const pipeline of Object.keys(pipelines)) {
    const traceId = randomBytes(16).toString('hex');
    const answer = (await ask(
      startRun,
      { input: { pipeline, reason: `${canaries.ssn} asked, ${canaries.email}` } },
      { traceparent: `00-${traceId}-${randomBytes(8).toString('hex')}-01` },
    )) as { data: { startRun: { id: string } } };
    expect(answer, JSON.stringify(answer)).toMatchObject({ data: { startRun: { __typename: 'Run' } } });
    const { id } = answer.data.startRun;
    const { status } = await eventually(
      async () => ((await ask(runQuery, { id })) as { data: { run: { status: string } } }).data.run,
      (found) => ['COMPLETED', 'FAILED'].includes(found.status),
      60_000,
    );
    runs.push({ id, traceId, status });
  }
  // A name of a file may be personal data too; it is refused.
  const payload = { agency: 'alpha', content_type: 'text', use_case: 'research', source: `of-${canaries.ssn}.csv` };
  await ask(startRun, { input: { payload: { ...payload, metadata: { asked: canaries.email } } } });
  await ask('{ viewer { agency } }', {}, { authorization: `Bearer ${canaries.bearer}` });
  await ask('{ viewer { agency } }', { password: canaries.password });
  const config = { urls: [`https://flux:${canaries.password}@example.org/`], apiKey: canaries.apiKey };
  await ask(registerConnection, {
    input: { definition: { name: 'web', kind: 'https', title: canaries.email, config } },
  });
  await ask(`query { run(id: "${canaries.ssn}") { id } }`, {});
  await ask(`{ nothing(of: "${canaries.password}") }`, {});
  await ask(auditQuery, {});
  const metrics = await (await fetch(alpha.metrics)).text();
  // A database that cannot be reached, by an address with a password.
  const away = await flux(['worker'], {
    home,
    env: { DATABASE_URL: `postgres://flux:${canaries.password}@127.0.0.1:1/flux`, LOG_LEVEL: 'trace' },
  });
  expect(away.code).not.toBe(0);
  const log = (await alpha.stop()) + away.stdout + away.stderr;
  lines = log
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as LogLine);
  told = { log, answers: answers.join('\n'), commands: alpha.spoken.join('\n'), metrics, token };
}, 240_000);

afterAll(() => alpha.remove());

const uuidOf = (id: string): string => Buffer.from(id, 'base64url').toString().split(':')[1] ?? '';

test('every line is JSON of the same shape, from each process', () => {
  expect(new Set(lines.map(({ service }) => service))).toEqual(
    new Set(['flux-api', 'flux-worker', 'flux-sealer', 'flux-supervisor']),
  );
  for (const line of lines) {
    expect(line).toMatchObject({
      level: expect.stringMatching(/^(fatal|error|warn|info|debug|trace)$/) as string,
      message: expect.stringMatching(/./) as string,
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as string,
    });
    expect(Object.keys(line)).toEqual(expect.arrayContaining(['level', 'timestamp', 'service', 'message']));
  }
});

test('one id leads from a request to the lines of its run, in the API and in the worker, while nothing is traced', () => {
  expect(runs.map(({ status }) => status)).toEqual(['COMPLETED', 'FAILED', 'FAILED', 'FAILED']);
  for (const { id, traceId, status } of runs) {
    const own = lines.filter(({ fields }) => fields?.['runId'] === uuidOf(id));
    expect(new Set(own.map((line) => line.trace_id))).toEqual(new Set([traceId]));
    const said = own.map(({ message }) => message);
    expect(said).toEqual(
      expect.arrayContaining(
        status === 'COMPLETED' ? ['a batch is committed', 'a run is completed'] : ['a run failed'],
      ),
    );
  }
  const [first] = runs;
  const services = lines.filter((line) => line.trace_id === first?.traceId).map(({ service }) => service);
  expect(new Set(services)).toEqual(new Set(['flux-api', 'flux-worker']));
});

test('what is searched below holds what happened', () => {
  expect(told['answers']).toContain('RunCompleted');
  expect(told['answers']).toContain('RunFailed');
  expect(told['answers']).toContain('UNAUTHENTICATED');
  expect(told['answers']).toContain('[ssn]');
  expect(told['metrics']).toContain('flux_errors_total{');
  expect(lines.length).toBeGreaterThan(20);
});

test('nothing that is told holds a secret or a person', () => {
  const { token = '', ...places } = told;
  const found = Object.entries({ ...canaries, token }).flatMap(([name, value]) =>
    Object.entries(places).flatMap(([place, text]) => {
      const at = text.indexOf(value);
      return at < 0 ? [] : [`${name} in ${place}: ${text.slice(Math.max(0, at - 300), at + 60)}`];
    }),
  );
  expect(found).toEqual([]);
});
