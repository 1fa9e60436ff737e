/**
 * Marked personal data go through every input of a running stack; afterwards nothing outside of the agency's own lake may hold them in
 * the clear: no table, no log line, no answer, no frame of a socket or stream, no other file.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { localIssuer } from '../../src/auth/local-issuer.ts';
import { connect } from '../../src/db/pool.ts';
import { ident, sql } from '../../src/db/sql.ts';
import { connectWire, runOverWire } from '../api/wire.ts';
import { openEvents } from '../api/event-wire.ts';
import {
  eventually,
  flux,
  type FluxProcess,
  freePort,
  readRunFile,
  startFlux,
  temporaryFolder,
} from '../support/flux.ts';

/** What goes in, and what must not be found again. */
const canary = {
  ssn: '219-09-9271',
  ein: '98-7654329',
  card: '4539 1488 0343 6467',
  phone: '(202) 555-0143',
  email: 'canary.person@personal.example',
  birth: 'born on 1971-02-13',
  plainSsn: 'SSN 219099271',
};
const everything = Object.values(canary).join('; ');
const needles = [
  '219-09-9271',
  '219099271',
  '98-7654329',
  '4539 1488 0343 6467',
  '555-0143',
  'canary.person',
  '1971-02-13',
  'Canaryname',
];

let folder = '';
let home = '';
let base = '';
let up: FluxProcess;
let remove: () => Promise<void>;
let env: Record<string, string>;
let bearer = '';
let admin: Awaited<ReturnType<typeof connect>>;
const said: { where: string; text: string }[] = [];

beforeAll(async () => {
  ({ remove, folder } = await temporaryFolder('personal data'));
  home = path.join(folder, 'home');
  const root = path.join(folder, 'sources');
  await mkdir(root);
  await writeFile(
    path.join(root, 'people.csv'),
    `year,ssn,first_name,note\n1990,,,\n${canary.ssn},219099271,Canaryname,"${everything}"\n1991,219099271,Canaryname\n`,
  );
  await writeFile(
    path.join(root, 'people.json'),
    JSON.stringify([
      { year: 1990 },
      { year: canary.ssn, ssn: 219099271, first_name: 'Canaryname', note: everything },
      { year: 1991, [canary.ssn]: canary.email },
    ]),
  );
  await writeFile(path.join(root, 'broken.json'), `[{"year": 1990, "note": "${everything}"`);
  const port = String(await freePort());
  base = `http://127.0.0.1:${port}`;
  env = { FLUX_PORT: port, LOG_LEVEL: 'debug', FLUX_SOURCE_ROOTS: JSON.stringify({ alpha: [root] }) };
  up = startFlux(['up', '--workers', '1'], { home, env });
  await up.says(/Flux is up/);
  admin = await connect({ url: (await readRunFile(home)).adminUrl, applicationName: 'test' });
  const manifest = path.join(folder, 'alpha.json');
  await writeFile(
    manifest,
    JSON.stringify({
      slug: 'alpha',
      name: 'Agency alpha',
      abbreviation: 'AL',
      supported_content_types: ['text'],
      supported_use_cases: ['research'],
    }),
  );
  expect(await flux(['agencies', 'add', manifest], { home, env })).toMatchObject({ code: 0 });
  const issuer = await localIssuer(home);
  bearer = await issuer.sign({ agency: 'alpha', role: 'admin', subject: 'pat@example.gov', minutes: 30 }, 'flux');
}, 60_000);

afterAll(async () => {
  await admin.end();
  up.kill('SIGTERM');
  await up.ended;
  await remove();
});

async function ask(query: string, variables: object = {}): Promise<Record<string, unknown>> {
  const response = await fetch(`${base}/v1/graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer ${bearer}`,
      'user-agent': `browser of ${everything}`,
      'x-request-id': canary.ssn,
    },
    body: JSON.stringify({ query, variables }),
  });
  const text = await response.text();
  said.push({ where: query.slice(0, 80), text });
  return (JSON.parse(text) as { data?: Record<string, unknown> | null }).data ?? {};
}

const fields = '__typename ... on Error { class code message } ... on ValidationError { issues { path rule message } }';
const mutate = async (name: string, type: string, input: object, more = ''): Promise<Record<string, unknown>> => {
  const data = await ask(`mutation ($input: ${type}!) { it: ${name}(input: $input) { ${fields} ${more} } }`, { input });
  return (data['it'] ?? {}) as Record<string, unknown>;
};

const contract = (more: object = {}) => ({
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Person',
  type: 'object',
  properties: {
    year: { type: 'integer' },
    ssn: { type: 'integer' },
    first_name: { type: 'string', maxLength: 3 },
    note: { type: 'string', maxLength: 5 },
  },
  required: ['year'],
  additionalProperties: false,
  ...more,
});
const pipeline = (name: string, source: object, more: object = {}) => ({
  name,
  title: `Pipeline ${name}`,
  contentType: 'text',
  useCase: 'research',
  source: { connection: 'files', ...source },
  contract: { name: 'person', version: 1, onViolation: 'quarantine', maxRejectedRatio: 1 },
  destination: { type: 'postgres', dataset: name, mode: 'replace' },
  ...more,
});

async function run(name: string, how: { stage?: string; dryRun?: boolean } = {}): Promise<string> {
  const started = await mutate(
    'startRun',
    'StartRunInput',
    {
      pipeline: name,
      reason: everything,
      idempotencyKey: `${canary.ssn} ${name} ${JSON.stringify(how)}`,
      ...how,
      metadata: { note: everything, ssn: '219099271', contact: canary.email },
    },
    '... on Run { id reason payload }',
  );
  const id = String(started['id']);
  expect(started).toMatchObject({ __typename: 'Run' });
  await eventually(
    async () => (await ask('query ($id: ID!) { run(id: $id) { isTerminal failure { message } } }', { id }))['run'],
    (found) => (found as { isTerminal: boolean }).isTerminal,
  );
  return id;
}

test(
  'personal data that went through every input are found nowhere outside of the lake',
  { timeout: 120_000 },
  async () => {
    // What may be stored only to the letter is refused.
    await mutate('registerConnection', 'RegisterConnectionInput', {
      definition: { name: 'files', kind: 'file', title: everything, config: { roots: ['.'] } },
      reason: everything,
    });
    await mutate('registerContract', 'RegisterContractInput', {
      name: 'person',
      document: contract({ description: everything }),
      reason: everything,
      idempotencyKey: canary.ssn,
    });
    await mutate('registerPipeline', 'RegisterPipelineInput', {
      definition: pipeline('people', { path: `${canary.ssn}.csv`, format: { type: 'csv' } }, { title: everything }),
      reason: everything,
    });
    await mutate('updateAgency', 'UpdateAgencyInput', { name: everything, reason: everything });
    await mutate('startRun', 'StartRunInput', {
      payload: { agency: canary.ssn, content_type: 'text', use_case: 'research', source: canary.ssn },
      reason: everything,
    });
    for (const mutation of ['cancelRun', 'resumeRun', 'rerunRun'] as const) {
      const type = `${mutation.charAt(0).toUpperCase()}${mutation.slice(1)}Input`;
      await mutate(mutation, type, { runId: canary.ssn, reason: everything, idempotencyKey: canary.card });
    }

    // What is free text is masked.
    const good = { definition: { name: 'files', kind: 'file', config: { roots: ['.'] } }, reason: everything };
    expect(await mutate('registerConnection', 'RegisterConnectionInput', good)).not.toHaveProperty('code');
    const person = { name: 'person', document: contract(), reason: everything };
    expect(await mutate('registerContract', 'RegisterContractInput', person)).not.toHaveProperty('code');
    for (const [name, file, format] of [
      ['csv', 'people.csv', { type: 'csv' }],
      ['json', 'people.json', { type: 'json' }],
      ['broken', 'broken.json', { type: 'json' }],
    ] as const) {
      const definition = pipeline(name, { path: file, format });
      expect(await mutate('registerPipeline', 'RegisterPipelineInput', { definition })).not.toHaveProperty('code');
    }
    expect(
      await mutate('registerPipeline', 'RegisterPipelineInput', {
        definition: pipeline(
          'cast',
          { path: 'people.json', format: { type: 'json' } },
          {
            contract: { name: 'person', version: 1, onViolation: 'quarantine', maxRejectedRatio: 1 },
            transforms: [{ type: 'derive', column: 'wrong', sql: "year('x' || cast(year as varchar))" }],
          },
        ),
      }),
    ).toBeDefined();
    await mutate('setLegalHold', 'LegalHoldInput', { reason: everything });
    await mutate('liftLegalHold', 'LegalHoldInput', { reason: everything });
    const runs = [await run('csv'), await run('json'), await run('broken')];
    // Each stage alone, which leaves its records in the store for the next, and a run that only says what it would do.
    for (const stage of ['INGEST', 'TRANSFORM', 'EXPORT']) runs.push(await run('json', { stage }));
    runs.push(await run('csv', { dryRun: true }));
    expect((await admin.query(sql`select from flux.run_parts`)).rowCount).toBeGreaterThan(0);
    expect((await admin.query(sql`select from flux.rejected_records`)).rowCount).toBeGreaterThanOrEqual(3);

    // Every way of reading, and of asking wrongly.
    for (const id of runs) {
      await ask(
        `query ($id: ID!) { run(id: $id) { reason payload failure { message } events { edges { node { message data } } }
        rejectedRecords { edges { node { raw reasons { message } } } } checkpoints { edges { node { cursor } } } } }`,
        { id },
      );
      const wire = await connectWire(base, bearer);
      for (const query of [
        `subscription { runEvents(runId: "${id}") { ... on RunEvent { message data } } }`,
        `{ run(id: "${canary.ssn}") { id } }`,
        `{ pipeline(name: "${everything}") { name } agency(slug: "${canary.ssn}") { name } }`,
        `{ runs(after: "${canary.ssn}") { edges { cursor } } }`,
        `{ node(id: "${canary.email}") { id } }`,
        `{ auditEntries(filter: { from: "${canary.ssn}" }) { edges { cursor } } }`,
        `{ nothing(x: "${everything}") }`,
        `{ broken "${everything}" `,
      ]) {
        said.push({ where: `socket ${query}`, text: JSON.stringify(await runOverWire(wire, randomUUID(), { query })) });
        await ask(query);
        const stream = await openEvents(base, bearer, { query }, { 'user-agent': everything });
        for (let event = await stream.next(); event; event = await stream.next()) {
          said.push({ where: `stream ${query}`, text: JSON.stringify(event) });
        }
      }
      await wire.close();
    }
    await ask('query ($v: Int!) { runs(first: $v) { edges { cursor } } }', { v: everything });
    said.push({ where: 'commands', text: JSON.stringify(await flux(['runs', 'list', '--json'], { home, env })) });
    const nobody = await fetch(`${base}/v1/graphql/${canary.ssn}`, { method: 'POST', body: everything });
    said.push({ where: 'not found', text: await nobody.text() });
    await ask(
      `{ auditEntries(first: 200) { edges { node { reason before after userAgent requestId resourceId body } } } }`,
    );
    await eventually(
      async () => (await admin.query(sql`select from flux.audit_inbox`)).rowCount,
      (waiting) => waiting === 0,
    );

    // The rejected records were there to be read, masked.
    expect(said.some(({ text }) => text.includes('rejectedRecords') && text.includes('[ssn],[name]'))).toBe(true);
    expect(found(said)).toEqual([]);
    expect(found(await tables())).toEqual([]);
    const files = await filesBelow(home);
    expect(files.length).toBeGreaterThan(3);
    expect(found(files)).toEqual([]);
    up.kill('SIGTERM');
    const { stdout, stderr } = await up.ended;
    expect(stderr.length + stdout.length).toBeGreaterThan(0);
    expect(found([{ where: 'log', text: stdout + stderr }, ...(await filesBelow(home))])).toEqual([]);
  },
);

function found(places: readonly { where: string; text: string }[]): string[] {
  return places.flatMap(({ where, text }) =>
    needles
      .filter((needle) => text.includes(needle))
      .map((needle) => `${where}: ${needle}: …${text.slice(Math.max(0, text.indexOf(needle) - 80)).slice(0, 160)}`),
  );
}

/** Every table of the database schema flux, every column as text. */
async function tables(): Promise<{ where: string; text: string }[]> {
  const { rows: columns } = await admin.query<{ table: string; column: string; bytes: boolean }>(sql`
    select c.relname::text as table, a.attname::text as column, a.atttypid = 'bytea'::regtype as bytes
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relnamespace = 'flux'::regnamespace and c.relkind in ('r', 'p')
  `);
  expect(columns.length).toBeGreaterThan(100);
  const texts: { where: string; text: string }[] = [];
  for (const { table, column, bytes } of columns) {
    const value = bytes ? sql`encode(${ident(column)}, 'escape')` : sql`${ident(column)}::text`;
    const { rows } = await admin.query<{ text: string | null }>(
      sql`select ${value} as text from ${ident('flux', table)}`,
    );
    texts.push({ where: `${table}.${column}`, text: rows.map(({ text }) => text ?? '').join('\n') });
  }
  return texts;
}

/** Every file of the installation but the database's own, which holds the lake. Pinned sources are sealed. */
async function filesBelow(top: string): Promise<{ where: string; text: string }[]> {
  const own = new Set(['postgres']);
  const all = await readdir(top, { recursive: true, withFileTypes: true });
  const chosen = all.filter(
    (file) => file.isFile() && !own.has(path.relative(top, file.parentPath).split(path.sep)[0] ?? ''),
  );
  return Promise.all(
    chosen.map(async (file) => {
      const at = path.join(file.parentPath, file.name);
      return { where: at, text: await readFile(at, 'latin1').catch(() => '') };
    }),
  );
}
