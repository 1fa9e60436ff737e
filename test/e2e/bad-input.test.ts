/**
 * What a person can get wrong with a running stack, as a plain client sees it: one clear error with class, code and what to do, an
 * audit entry, nothing half done. A port in use and another major's data directory stand in up.test.ts, a database that is not
 * there in surroundings.test.ts.
 */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmod, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { localIssuer } from '../../src/auth/local-issuer.ts';
import { connect } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import {
  eventually,
  flux,
  type FluxProcess,
  freePort,
  readRunFile,
  startFlux,
  temporaryFolder,
} from '../support/flux.ts';

interface Problem {
  __typename: string;
  class: string;
  code: string;
  message: string;
  errorId: string;
  issues?: { path: string; message: string }[];
}
interface Answer {
  status: number;
  body: {
    data?: Record<string, unknown> | null;
    errors?: { message: string; extensions: { code: string; class?: string; errorId?: string } }[];
  };
}

const fields =
  '__typename ... on Error { class code message errorId } ... on ValidationError { issues { path message } }';
const mutations = {
  startRun: `mutation ($input: StartRunInput!) { it: startRun(input: $input) { ${fields} ... on Run { id } } }`,
  registerPipeline: `mutation ($input: RegisterPipelineInput!) { it: registerPipeline(input: $input) { ${fields} } }`,
  registerContract: `mutation ($input: RegisterContractInput!) { it: registerContract(input: $input) { ${fields} } }`,
  registerConnection: `mutation ($input: RegisterConnectionInput!) { it: registerConnection(input: $input) { ${fields} } }`,
  cancelRun: `mutation ($input: CancelRunInput!) { it: cancelRun(input: $input) { ${fields} } }`,
  rerunRun: `mutation ($input: RerunRunInput!) { it: rerunRun(input: $input) { ${fields} } }`,
  forkRun: `mutation ($input: ForkRunInput!) { it: forkRun(input: $input) { ${fields} } }`,
} as const;
type Mutation = keyof typeof mutations;

const contract = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Reading',
  type: 'object',
  properties: { year: { type: 'integer' } },
  required: ['year'],
  additionalProperties: false,
};
const pipeline = (name: string, source: string, more: object = {}): Record<string, unknown> => ({
  name,
  title: `Pipeline ${name}`,
  contentType: 'text',
  useCase: 'research',
  source: { connection: 'files', path: source, format: { type: 'csv' } },
  contract: { name: 'reading', version: 1 },
  destination: { type: 'postgres', dataset: 'readings', mode: 'replace' },
  ...more,
});

let folder: string;
let home: string;
let url: string;
let env: Record<string, string>;
let remove: () => Promise<void>;
let up: FluxProcess;
let admin: Awaited<ReturnType<typeof connect>>;
let alpha: string;
let beta: string;
let betaRun: string;
let issuer: Awaited<ReturnType<typeof localIssuer>>;

beforeAll(async () => {
  const temporary = await temporaryFolder('bad input');
  ({ remove, folder } = temporary);
  home = path.join(folder, 'home');
  await writeSources(path.join(folder, 'alpha'));
  await writeSources(path.join(folder, 'beta'));
  const port = String(await freePort());
  const roots = { alpha: [path.join(folder, 'alpha')], beta: [path.join(folder, 'beta')] };
  env = { FLUX_PORT: port, LOG_LEVEL: 'warn', FLUX_SOURCE_ROOTS: JSON.stringify(roots) };
  url = `http://127.0.0.1:${port}/v1/graphql`;
  up = startFlux(['up', '--workers', '2'], { home, env });
  await up.says(/Flux is up/);
  admin = await connect({ url: (await readRunFile(home)).adminUrl, applicationName: 'test' });
  issuer = await localIssuer(home);
  for (const slug of ['alpha', 'beta']) {
    const file = path.join(folder, `${slug}.json`);
    await writeFile(
      file,
      JSON.stringify({
        slug,
        name: `Agency ${slug}`,
        abbreviation: slug.slice(0, 2).toUpperCase(),
        supported_content_types: ['text'],
        supported_use_cases: ['research'],
      }),
    );
    expect(await flux(['agencies', 'add', file], { home, env })).toMatchObject({ code: 0 });
  }
  alpha = await token('alpha');
  beta = await token('beta');
  for (const who of [alpha, beta]) {
    await done('registerConnection', { definition: { name: 'files', kind: 'file', config: { roots: ['.'] } } }, who);
    await done('registerContract', { name: 'reading', document: contract }, who);
    await done('registerPipeline', { definition: pipeline('good', 'good.csv') }, who);
  }
  betaRun = (await done('startRun', { pipeline: 'good' }, beta))['id'] as string;
  await over(betaRun, beta);
}, 60_000);

afterAll(async () => {
  await admin.end();
  up.kill('SIGTERM');
  expect(await up.ended).toMatchObject({ code: 0 });
  await remove();
});

function token(agency: string, minutes = 30): Promise<string> {
  return issuer.sign({ agency, role: 'admin', subject: 'pat@example.gov', minutes }, 'flux');
}

async function writeSources(root: string): Promise<void> {
  await mkdir(path.join(root, 'folder.csv'), { recursive: true });
  const files: Record<string, string | Buffer> = {
    'good.csv': 'year\n1990\n1991\n',
    'empty.csv': '',
    'binary.csv': Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0, 1, 2, 3, 0xff, 0xfe, 0, 0, 10, 0, 9]),
    'latin1.csv': Buffer.from('year\n19\xe990\n', 'latin1'),
    'utf16.csv': Buffer.from('\ufeffyear\n1990\n', 'utf16le'),
    'wrong-header.csv': 'month\n1\n',
    'closed.csv': 'year\n1990\n',
    'cut.json': '[{"year": 1990}, {"year": 19',
    'no.parquet': 'PAR1 this is no Parquet file',
  };
  for (const [name, bytes] of Object.entries(files)) await writeFile(path.join(root, name), bytes);
  await chmod(path.join(root, 'closed.csv'), 0);
  await symlink('/etc/passwd', path.join(root, 'escape.csv'));
  await promisify(execFile)('mkfifo', [path.join(root, 'pipe.csv')]);
}

async function post(body: string, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${alpha}`, ...headers },
    body,
    signal: AbortSignal.timeout(10_000),
  });
  return { status: response.status, body: (await response.json()) as Answer['body'] };
}
const query = (text: string, variables: object = {}, who = alpha): Promise<Answer> =>
  post(JSON.stringify({ query: text, variables }), { authorization: `Bearer ${who}` });

const ask = async (name: Mutation, input: object, who = alpha): Promise<Answer> =>
  query(mutations[name], { input }, who);

async function done(name: Mutation, input: object, who = alpha): Promise<Record<string, unknown>> {
  const { body } = await ask(name, input, who);
  const result = body.data?.['it'] as Record<string, unknown> | undefined;
  if (!result || 'code' in result) throw new Error(`${name}: ${JSON.stringify(body)}`);
  return result;
}

async function refused(name: Mutation, input: object, who = alpha): Promise<Problem> {
  const { status, body } = await ask(name, input, who);
  expect(status, JSON.stringify(body)).toBe(200);
  return body.data?.['it'] as Problem;
}

async function over(id: string, who = alpha): Promise<{ status: string; failure: Problem | null }> {
  return eventually(
    async () => {
      const { body } = await query(
        'query ($id: ID!) { run(id: $id) { status isTerminal failure { class code message } } }',
        { id },
        who,
      );
      return body.data?.['run'] as { status: string; isTerminal: boolean; failure: Problem | null };
    },
    ({ isTerminal }) => isTerminal,
  );
}

/** An agency's entries, sealed or still waiting for it. */
async function entries(
  agency: string,
): Promise<{ action: string; success: boolean; errorCode: string | null; resourceId: string | null }[]> {
  const { rows } = await admin.query<{ body: Awaited<ReturnType<typeof entries>>[number] }>(sql`
    select convert_from(body, 'UTF8')::jsonb as body
    from (
      select at, entry_id, body from flux.audit_inbox where agency_id = ${agency}
      union
      select at, entry_id, body from flux.audit_entries where agency_id = ${agency}
    ) as entries
    order by at, entry_id
  `);
  return rows.map(({ body }) => body);
}

/** Everything of an agency that a refusal must not change. */
async function belongings(agency: string): Promise<unknown> {
  const { rows } = await admin.query(sql`
    select
      (select count(*)::int from flux.runs where agency_id = ${agency}) as runs,
      (select count(*)::int from flux.run_partitions where agency_id = ${agency}) as partitions,
      (select count(*)::int from flux.run_events where agency_id = ${agency}) as events,
      (select count(*)::int from flux.pipelines where agency_id = ${agency}) as pipelines,
      (select count(*)::int from flux.contracts where agency_id = ${agency}) as contracts,
      (select count(*)::int from flux.connections where agency_id = ${agency}) as connections,
      (select count(*)::int from flux.loads where agency_id = ${agency}) as loads,
      (select count(*)::int from flux.idempotency_keys where agency_id = ${agency}) as keys
  `);
  return rows[0];
}

const wide = 'x'.repeat(2001);
const definition = (more: object): object => ({ definition: pipeline('worse', 'good.csv', more) });
const payload = (more: object): object => ({
  payload: { agency: 'alpha', content_type: 'text', use_case: 'research', ...more },
});

describe('a request that cannot be', () => {
  test.each<[string, Mutation, object, string, string, RegExp]>([
    ['an unknown pipeline', 'startRun', { pipeline: 'nope' }, 'VALIDATION', 'PIPELINE_NOT_FOUND', /nope.*good/s],
    ['a pipeline by no name', 'startRun', { pipeline: '' }, 'VALIDATION', 'INVALID_INPUT', /pipeline must match/],
    ['nothing to run', 'startRun', {}, 'VALIDATION', 'INVALID_INPUT', /exactly one/],
    [
      'a use case that does not exist',
      'startRun',
      payload({ use_case: 'poetry' }),
      'VALIDATION',
      'INVALID_INPUT',
      /use_case/,
    ],
    ['a stage that does not exist', 'startRun', payload({ stage: 'polish' }), 'VALIDATION', 'INVALID_INPUT', /stage/],
    [
      'a content type that does not exist',
      'startRun',
      payload({ content_type: 'scent' }),
      'VALIDATION',
      'INVALID_INPUT',
      /content_type/,
    ],
    [
      'a use case nobody registered',
      'startRun',
      payload({ use_case: 'policy' }),
      'VALIDATION',
      'PIPELINE_NOT_FOUND',
      /good/,
    ],
    ['a payload that is a list', 'startRun', { payload: [1] }, 'VALIDATION', 'INVALID_INPUT', /object/],
    ['a reason without end', 'startRun', { pipeline: 'good', reason: wide }, 'VALIDATION', 'INVALID_INPUT', /reason/],
    ['a reason with NUL', 'startRun', { pipeline: 'good', reason: 'a\0b' }, 'VALIDATION', 'INVALID_INPUT', /NUL/],
    [
      'a reason with half a character',
      'startRun',
      { pipeline: 'good', reason: 'a\ud800b' },
      'VALIDATION',
      'INVALID_INPUT',
      /valid Unicode/,
    ],
    ['notes with NUL', 'startRun', { pipeline: 'good', metadata: { a: 'x\0' } }, 'VALIDATION', 'INVALID_INPUT', /NUL/],
    [
      'notes with half a character',
      'startRun',
      { pipeline: 'good', metadata: { a: '\udc00' } },
      'VALIDATION',
      'INVALID_INPUT',
      /surrogate/,
    ],
    [
      'an idempotency key with NUL',
      'startRun',
      { pipeline: 'good', idempotencyKey: '\0' },
      'VALIDATION',
      'INVALID_INPUT',
      /NUL/,
    ],
    [
      'an idempotency key too long',
      'startRun',
      { pipeline: 'good', idempotencyKey: 'k'.repeat(256) },
      'VALIDATION',
      'INVALID_INPUT',
      /255/,
    ],
    [
      'a pipeline name with NUL',
      'startRun',
      { pipeline: 'go\0od' },
      'VALIDATION',
      'INVALID_INPUT',
      /pipeline must match/,
    ],
    [
      'a contract that does not compile',
      'registerContract',
      { name: 'bad', document: { ...contract, properties: { year: { type: 'integr' } } } },
      'VALIDATION',
      'CONTRACT_INVALID',
      /type/,
    ],
    [
      'a contract whose pattern does not compile',
      'registerContract',
      { name: 'bad', document: { ...contract, properties: { year: { type: 'string', pattern: '(' } } } },
      'VALIDATION',
      'CONTRACT_INVALID',
      /pattern/,
    ],
    [
      'a contract that refers elsewhere',
      'registerContract',
      { name: 'bad', document: { ...contract, properties: { year: { $ref: 'https://example.com/x' } } } },
      'VALIDATION',
      'CONTRACT_INVALID',
      /ref/,
    ],
    [
      'a contract that is a text',
      'registerContract',
      { name: 'bad', document: 'x' },
      'VALIDATION',
      'CONTRACT_INVALID',
      /object/,
    ],
    ['a pipeline with NUL', 'registerPipeline', definition({ title: 'a\0' }), 'VALIDATION', 'INVALID_INPUT', /NUL/],
    [
      'a contract with half a character',
      'registerContract',
      { name: 'bad', document: { ...contract, title: 'a\ud800' } },
      'VALIDATION',
      'INVALID_INPUT',
      /surrogate/,
    ],
    [
      'a pipeline with a use case that does not exist',
      'registerPipeline',
      definition({ useCase: 'poetry' }),
      'VALIDATION',
      'INVALID_INPUT',
      /useCase/,
    ],
    [
      'a pipeline with an unknown contract',
      'registerPipeline',
      definition({ contract: { name: 'none', version: 1 } }),
      'VALIDATION',
      'INVALID_INPUT',
      /none/,
    ],
    [
      'a pipeline with an unknown connection',
      'registerPipeline',
      definition({ source: { connection: 'none', path: 'x', format: { type: 'csv' } } }),
      'VALIDATION',
      'INVALID_INPUT',
      /none/,
    ],
    [
      'a pipeline with half a character',
      'registerPipeline',
      definition({ title: '\ud800' }),
      'VALIDATION',
      'INVALID_INPUT',
      /surrogate/,
    ],
    [
      'a connection of no kind',
      'registerConnection',
      { definition: { name: 'x', kind: 'smoke' } },
      'VALIDATION',
      'INVALID_INPUT',
      /kind/,
    ],
    ['a cancel of no run', 'cancelRun', { runId: randomUUID(), reason: 'x' }, 'VALIDATION', 'NOT_FOUND', /run/i],
    ['a cancel of what is no id', 'cancelRun', { runId: '\0', reason: 'x' }, 'VALIDATION', 'NOT_FOUND', /run/i],
    [
      'a rerun of something else',
      'rerunRun',
      { runId: Buffer.from('Pipeline:good').toString('base64') },
      'VALIDATION',
      'NOT_FOUND',
      /run/i,
    ],
    [
      'a fork of what is no id',
      'forkRun',
      { checkpointId: Buffer.from('Run:1').toString('base64'), reason: 'x' },
      'VALIDATION',
      'NOT_FOUND',
      /checkpoint/i,
    ],
    [
      'a fork of no checkpoint',
      'forkRun',
      { checkpointId: randomUUID(), reason: 'x' },
      'VALIDATION',
      'NOT_FOUND',
      /checkpoint/i,
    ],
  ])('%s is one clear error, audited, and changes nothing', async (_, name, input, errorClass, code, message) => {
    const before = await belongings('alpha');
    const failures = async () => (await entries('alpha')).filter(({ success }) => !success);
    const known = (await failures()).length;
    const problem = await refused(name, input);
    expect(problem).toMatchObject({ class: errorClass, code });
    expect(problem.message + JSON.stringify(problem.issues ?? [])).toMatch(message);
    expect((await failures()).slice(known)).toMatchObject([{ errorCode: code }]);
    expect(await belongings('alpha')).toEqual(before);
  });
});

describe('another agency', () => {
  const blind = (problem: unknown, ...names: string[]): string =>
    names.reduce(
      (text, name) => text.replaceAll(name, 'THEIRS'),
      JSON.stringify(problem).replaceAll(/"errorId":"[^"]+"/g, ''),
    );

  test('answers the same whether it exists or not, keeps its data, and is in the caller’s log', async () => {
    const before = await belongings('beta');
    const logged = (await entries('beta')).length;
    const isolation = async () => (await entries('alpha')).filter(({ errorCode }) => errorCode === 'DATA_ISOLATION');
    const known = (await isolation()).length;
    const [real, invented] = await Promise.all(
      ['beta', 'nobody'].map((agency) => refused('startRun', payload({ agency }))),
    );
    expect(real).toMatchObject({ class: 'DATA_ISOLATION', code: 'DATA_ISOLATION' });
    expect(blind(real, 'beta')).toBe(blind(invented, 'nobody'));
    // What workers and reads of earlier tests leave in the log comes in between.
    expect((await isolation()).slice(known)).toMatchObject([
      { action: 'run.start', success: false },
      { action: 'run.start', success: false },
    ]);
    expect(await belongings('beta')).toEqual(before);
    expect(await entries('beta')).toHaveLength(logged);
    for (const slug of ['beta', 'nobody']) {
      expect((await query('query ($slug: String) { agency(slug: $slug) { slug } }', { slug })).body).toEqual({
        data: { agency: null },
      });
    }
  });

  test('has runs that answer like runs that do not exist', async () => {
    const before = await belongings('beta');
    const ids = [betaRun, Buffer.from(`Run:${randomUUID()}`).toString('base64url')];
    const uuidOf = (id: string | undefined): string =>
      Buffer.from(id ?? '', 'base64url')
        .toString()
        .slice('Run:'.length);
    for (const name of ['cancelRun', 'rerunRun'] as const) {
      const [real, invented] = await Promise.all(ids.map((runId) => refused(name, { runId, reason: 'x' })));
      expect(real).toMatchObject({ class: 'VALIDATION', code: 'NOT_FOUND' });
      expect(blind(real, uuidOf(betaRun))).toBe(blind(invented, uuidOf(ids[1])));
    }
    const reads = ids.map((id) => query('query ($id: ID!) { run(id: $id) { id } node(id: $id) { id } }', { id }));
    for (const { body } of await Promise.all(reads)) expect(body).toEqual({ data: { run: null, node: null } });
    expect(await belongings('beta')).toEqual(before);
  });
});

describe('a source that cannot be read', () => {
  const isRoot = process.getuid?.() === 0;
  const cases: [string, string, RegExp, object?][] = [
    ['missing', 'none.csv', /none\.csv/],
    ['a folder', 'folder.csv', /folder\.csv/],
    ['a pipe', 'pipe.csv', /pipe\.csv/],
    ['a way out', 'escape.csv', /escape\.csv/],
    ['empty', 'empty.csv', /empty/],
    ['binary', 'binary.csv', /byte/],
    ['Latin-1', 'latin1.csv', /UTF-8.*byte|byte.*UTF-8/s],
    ['UTF-16', 'utf16.csv', /UTF-16/],
    ['without its column', 'wrong-header.csv', /year/],
    ['cut off', 'cut.json', /byte/, { type: 'json' }],
    ['no Parquet', 'no.parquet', /Parquet/i, { type: 'parquet' }],
    ...(isRoot ? [] : [['closed', 'closed.csv', /closed\.csv/] as [string, string, RegExp]]),
  ];

  test('ends its run with one clear error, audited, and leaves no rows, tables or files', async () => {
    const runs = await Promise.all(
      cases.map(async ([, source, , format], index) => {
        const name = `hostile-${String(index)}`;
        const destination = { type: 'postgres', dataset: `hostile_${String(index)}`, mode: 'replace' };
        const of = { connection: 'files', path: source, format: format ?? { type: 'csv' } };
        await done('registerPipeline', { definition: pipeline(name, source, { source: of, destination }) });
        return (await done('startRun', { pipeline: name }))['id'] as string;
      }),
    );
    for (const [index, [what, , message]] of cases.entries()) {
      const { status, failure } = await over(runs[index] ?? '');
      expect({ what, status, ...failure }).toMatchObject({
        what,
        status: 'FAILED',
        class: 'TERMINAL',
        code: 'SOURCE_INVALID',
      });
      expect(failure?.message, what).toMatch(message);
      expect(failure?.message, what).not.toContain(folder);
    }
    expect((await entries('alpha')).filter(({ errorCode }) => errorCode === 'SOURCE_INVALID')).toHaveLength(
      cases.length,
    );
    const { rows } = await admin.query(sql`
      select
        (select count(*)::int from flux.runs where finished_at is null) as runs,
        (select count(*)::int from flux.run_partitions where status in ('AVAILABLE', 'EXECUTING')) as partitions,
        (select count(*)::int from flux.loads where agency_id = 'alpha' and status <> 'SUPERSEDED') as loads,
        (select count(*)::int from pg_class where relname like 'hostile%') as tables
    `);
    expect(rows).toEqual([{ runs: 0, partitions: 0, loads: 0, tables: 0 }]);
    await eventually(
      () => readdir(path.join(home, 'work'), { recursive: true, withFileTypes: true }),
      // The worker's own folder with its lock, and in it what Node has compiled of our sources.
      (left) =>
        left.every(({ name, parentPath }) => {
          const [, within] = path.relative(path.join(home, 'work'), path.join(parentPath, name)).split(path.sep);
          return within === undefined || within === 'code';
        }),
    );
    const sealed = 'query { auditEntries(first: 200, filter: { success: false }) { edges { node { errorCode } } } }';
    await eventually(
      async () => {
        const { edges } = (await query(sealed)).body.data?.['auditEntries'] as {
          edges: { node: { errorCode: string } }[];
        };
        return edges.filter(({ node }) => node.errorCode === 'SOURCE_INVALID').length;
      },
      (count) => count === cases.length,
    );
    const { stdout, code } = await flux(['runs', 'start', 'nope', '--token', alpha, '--json'], { home, env });
    expect({ stdout, code }).toEqual({ stdout: '', code: 1 });
    expect((await over((await done('startRun', { pipeline: 'good' }))['id'] as string)).status).toBe('COMPLETED');
  });
});

describe('garbage', () => {
  const list = 'query ($first: Int, $after: String) { runs(first: $first, after: $after) { edges { cursor } } }';

  test.each<[string, () => Promise<Answer>, number, string]>([
    ['JSON that is cut off', () => post('{"query": "{ viewer'), 400, 'INVALID_INPUT'],
    ['JSON that is no request', () => post('[1, 2]'), 400, 'INVALID_INPUT'],
    ['an empty body', () => post(''), 400, 'INVALID_INPUT'],
    [
      'another content type',
      () => post('{ viewer { subject } }', { 'content-type': 'text/plain' }),
      415,
      'INVALID_INPUT',
    ],
    [
      'a body of 1 MB',
      () => post(JSON.stringify({ query: `{ viewer { subject } } #${'x'.repeat(1_000_000)}` })),
      413,
      'LIMIT_EXCEEDED',
    ],
    ['no token', () => query('{ viewer { subject } }', {}, ''), 401, 'UNAUTHENTICATED'],
    ['a token that is none', () => query('{ viewer { subject } }', {}, 'a.b.c'), 401, 'UNAUTHENTICATED'],
    [
      'an expired token',
      async () => query('{ viewer { subject } }', {}, await token('alpha', -1)),
      401,
      'UNAUTHENTICATED',
    ],
    [
      'a token of an agency that is none',
      async () => query('{ viewer { subject } agency { slug } }', {}, await token('nobody')),
      200,
      '',
    ],
    ['a field that does not exist', () => query('{ viewer { shoeSize } }'), 200, 'INVALID_INPUT'],
    ['a stage that does not exist', () => ask('startRun', { pipeline: 'good', stage: 'POLISH' }), 200, 'INVALID_INPUT'],
    ['a negative first', () => query(list, { first: -1 }), 200, 'INVALID_INPUT'],
    ['a forged cursor', () => query(list, { after: 'AAAA' }), 200, 'INVALID_INPUT'],
    ['a cursor with NUL', () => query(list, { after: '\0' }), 200, 'INVALID_INPUT'],
    [
      'a name with NUL',
      () => query('query ($n: String!) { pipeline(name: $n) { name } }', { n: 'a\0' }),
      200,
      'INVALID_INPUT',
    ],
    [
      'a name with half a character',
      () => query('query ($n: String!) { pipeline(name: $n) { name } }', { n: '\ud800' }),
      200,
      '',
    ],
    ['an id of another type', () => query('{ run(id: "UGlwZWxpbmU6Z29vZA==") { id } }'), 200, ''],
  ])('%s has one answer that says what it is', async (_, send, status, code) => {
    const answer = await send();
    expect({ status: answer.status, code: answer.body.errors?.[0]?.extensions.code ?? '' }).toEqual({ status, code });
    for (const { message } of answer.body.errors ?? []) expect(message).not.toMatch(/unexpected|internal|\bat .*:\d+/i);
  });
});
