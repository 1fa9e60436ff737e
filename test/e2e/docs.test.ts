/** The examples of docs/api.md and docs/sdk.md, taken from the pages and run as they stand there against `flux up`; and what watching shows. */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { connectionDocument, contractDocument, pipelineDocument } from '../support/api.ts';
import { flux, type FluxProcess, freePort, startFlux, temporaryFolder } from '../support/flux.ts';
import { installSdk } from '../support/sdk-package.ts';
import { alphaManifest } from '../support/alpha.ts';

const checkout = path.join(import.meta.dirname, '..', '..');
let home: string;
let folder: string;
let remove: () => Promise<void>;
let up: FluxProcess;
let url: string;

interface Example {
  language: string;
  role: string;
  code: string;
}

/** Fenced blocks with `example=NAME role=ROLE` behind their language. */
const examples = new Map<string, Example>();
for (const page of ['api.md', 'sdk.md']) {
  const text = readFileSync(path.join(checkout, 'docs', page), 'utf8');
  for (const [, language = '', name = '', role = '', code = ''] of text.matchAll(
    /^```(\w+) example=([\w-]+) role=(\w+)\n(.*?)^```$/gms,
  )) {
    examples.set(name, { language, role, code });
  }
}

const has = (program: string): boolean => spawnSync(program, ['--version']).status === 0;
const missing = (program: string): string | undefined =>
  has(program) ? undefined : `${program} is not installed here; apt-get install ${program}`;

async function run(args: string[], token = ''): Promise<string> {
  const ended = await flux(args, { home, env: { FLUX_TOKEN: token } });
  expect(ended, args.join(' ')).toMatchObject({ code: 0 });
  return ended.stdout;
}

async function tokenOf(role: string): Promise<string> {
  return (await run(['token', '--agency', 'alpha', '--role', role, '--sub', 'pat@example.gov'])).trim();
}

beforeAll(async () => {
  const temporary = await temporaryFolder('docs');
  ({ folder, remove } = temporary);
  home = path.join(folder, 'home');
  const files = path.join(folder, 'files');
  await mkdir(files, { mode: 0o755 });
  const write = async (name: string, content: unknown): Promise<string> => {
    const file = path.join(files, name);
    await writeFile(file, typeof content === 'string' ? content : JSON.stringify(content));
    return file;
  };
  await write('readings.csv', 'year\n2001\n2002\nnever\n');
  const port = await freePort();
  url = `http://127.0.0.1:${String(port)}`;
  up = startFlux(['up', '--workers', '1'], {
    home,
    env: { FLUX_PORT: String(port), FLUX_SOURCE_ROOTS: JSON.stringify({ alpha: [files] }), LOG_LEVEL: 'warn' },
  });
  installSdk(folder);
  await up.says(/Flux is up/);
  await run(['agencies', 'add', await write('alpha.json', alphaManifest)]);
  const admin = await tokenOf('admin');
  const pipeline = pipelineDocument('readings', { contract: { name: 'reading', version: 1, maxRejectedRatio: 0.5 } });
  for (const [kind, file] of Object.entries({
    connections: await write('files.json', connectionDocument),
    contracts: await write('reading.json', contractDocument),
    pipelines: await write('readings.json', pipeline),
  })) {
    await run([kind, 'register', file], admin);
  }
}, 180_000);

afterAll(async () => {
  up.kill('SIGTERM');
  await up.ended;
  await remove();
});

/** Runs an example in a folder where nothing is but what npm would have installed. @returns what it prints */
async function runExample(name: string): Promise<string> {
  const { language, role, code } = examples.get(name) ?? { language: '', role: '', code: '' };
  const interpreter = { ts: process.execPath, sh: 'sh', python: 'python3' }[language];
  if (interpreter === undefined)
    throw new Error(`expected an example ${name}, found ${[...examples.keys()].join(', ')}`);
  const file = path.join(folder, `${name}.${language === 'ts' ? 'mts' : language}`);
  await writeFile(file, code);
  const env = { PATH: process.env.PATH, FLUX_URL: url, FLUX_TOKEN: await tokenOf(role) };
  const child = spawn(interpreter, [file], { cwd: folder, env, timeout: 60_000 });
  let output = '';
  let errors = '';
  child.stdout.on('data', (data: Buffer) => (output += data.toString()));
  child.stderr.on('data', (data: Buffer) => (errors += data.toString()));
  const code_ = await new Promise((resolve) => child.once('close', resolve));
  expect([code_, errors]).toEqual([0, '']);
  return output;
}

const wholeHistory = /1 RunQueued\n(\d+ \w+\n)*\d+ RunCompleted\nover: COMPLETED\nrefused: PIPELINE_NOT_FOUND\n$/;

describe('docs/sdk.md', () => {
  test('TypeScript', async () => {
    const output = await runExample('sdk');
    expect(output).toMatch(/^token: first\n/);
    expect(output).toMatch(wholeHistory);
  });

  test('Python', async ({ skip }) => {
    const reason = missing('python3');
    if (reason !== undefined) skip(reason);
    expect(await runExample('python')).toMatch(wholeHistory);
  });
});

describe('docs/api.md', () => {
  test('the dashboard', async () => {
    const output = await runExample('dashboard');
    expect(output).toMatch(/^readings: COMPLETED, 2 written$/m);
    expect(output).toMatch(/^connection: live$/m);
    expect(output).toMatch(/^progress: COMPLETED, 100 %$/m);
  });

  test('a list without a gap', async ({ skip }) => {
    const reason = missing('curl');
    if (reason !== undefined) skip(reason);
    expect(JSON.parse(await runExample('list'))).toMatchObject({
      edges: [],
      pageInfo: { hasNextPage: false, endCursor: expect.any(String) as unknown },
    });
  });

  test('the analyst', async ({ skip }) => {
    const reason = missing('curl');
    if (reason !== undefined) skip(reason);
    const { data } = JSON.parse(await runExample('analyst')) as { data: { runs: { edges: { node: unknown }[] } } };
    expect(data.runs.edges[0]?.node).toMatchObject({
      status: 'COMPLETED',
      reconciliation: { recordsRead: '3', recordsWritten: '2', recordsRejected: '1', balanced: true },
      rejectedRecords: { edges: [{ node: { recordNo: '3' } }] },
    });
    expect(await runExample('analyst-package')).toMatch(/^[1-9]\d{2,} readings\.zip$/m);
    const stream = await runExample('analyst-stream');
    expect(stream).toContain('"__typename":"RunCompleted"');
    expect(stream).toContain('"__typename":"StreamEnd"');
    expect(stream).toContain('event: complete');
  });

  test('the integrator', async ({ skip }) => {
    const reason = missing('curl');
    if (reason !== undefined) skip(reason);
    const started = JSON.parse(await runExample('integrator')) as { id: string };
    expect(started).toMatchObject({ __typename: 'Run' });
    expect(JSON.parse(await runExample('integrator'))).toMatchObject({ id: started.id });
    expect(JSON.parse(await runExample('integrator-webhook'))).toMatchObject({
      webhook: { version: '1' },
      secret: expect.stringMatching(/^whsec_/) as string,
    });
  });

  test('files, deliveries and trusted documents', async ({ skip }) => {
    const reason = missing('curl');
    if (reason !== undefined) skip(reason);
    expect(JSON.parse(await runExample('integrator-upload'))).toMatchObject({
      source: 'upload://years.csv',
      status: 'COMPLETE',
      byteCount: '15',
    });
    await runExample('integrator-webhook');
    expect(JSON.parse(await runExample('integrator-deliveries'))).toMatchObject({
      edges: expect.any(Array) as unknown,
    });
    expect(JSON.parse(await runExample('trusted-document'))).toMatchObject({
      data: { viewer: { agency: 'alpha', role: 'VIEWER' } },
    });
  });

  test('has no example that is not run', () => {
    const ofApi = ['analyst', 'analyst-package', 'analyst-stream', 'dashboard', 'list', 'trusted-document'];
    const ofIntegrator = ['integrator', 'integrator-deliveries', 'integrator-upload', 'integrator-webhook'];
    expect([...examples.keys()].sort()).toEqual([...ofApi, ...ofIntegrator, 'python', 'sdk'].sort());
  });
});

describe('flux runs watch', () => {
  test('prints one JSON object a line into a pipe, with progress between, and StreamEnd last', async () => {
    const token = await tokenOf('operator');
    const output = await run(['runs', 'start', 'readings', '--watch'], token);
    const items = output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { __typename: string; status?: string });
    expect(items[0]).toMatchObject({ __typename: expect.stringMatching(/^(RunQueued|RunProgress)$/) as string });
    expect(items.some(({ __typename }) => __typename === 'RunProgress')).toBe(true);
    expect(items.at(-1)).toMatchObject({ __typename: 'StreamEnd', status: 'COMPLETED' });
  });

  test('draws a bar in a terminal', async ({ skip }) => {
    const reason = missing('python3');
    if (reason !== undefined) skip(reason);
    const token = await tokenOf('operator');
    const { runId } = JSON.parse(await run(['runs', 'start', 'readings', '--json'], token)) as { runId: string };
    const bin = path.join(checkout, 'src', 'cli', 'bin.mjs');
    const inTerminal = 'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))';
    const child = spawn('python3', ['-c', inTerminal, process.execPath, bin, 'runs', 'watch', runId], {
      env: { PATH: process.env.PATH, HOME: process.env.HOME, FLUX_HOME: home, FLUX_TOKEN: token },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 60_000,
    });
    let screen = '';
    child.stdout.on('data', (data: Buffer) => (screen += data.toString()));
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(0);
    expect(screen).toMatch(/\[[█·]{16}\]|\d+%/);
    expect(screen).toContain('\u001B[');
    expect(screen).toMatch(/RunQueued/);
    expect(screen).toContain('The run is over: COMPLETED.');
  });
});
