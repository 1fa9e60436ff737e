/**
 * The pages of docs/operations for agencies, keys, backups and disks, gone through on a running installation: their own commands, as they
 * stand there. What is Kubernetes' is left out.
 */
import { spawnSync } from 'node:child_process';
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { connectionDocument, contractDocument, pipelineDocument } from '../support/api.ts';
import {
  type Ended,
  eventually,
  flux,
  type FluxProcess,
  freePort,
  readRunFile,
  startFlux,
  temporaryFolder,
} from '../support/flux.ts';
import { runShell, shellBlock } from '../support/runbook.ts';
import { createTestIssuer } from '../support/tokens.ts';

const has = (program: string): boolean => spawnSync(program, ['--version']).error === undefined;
const keyOf = (digits: string): string => digits.repeat(32);
const records = 500;
const lateDocument = pipelineDocument('late', {
  source: { connection: 'files', path: 'late.csv', format: { type: 'csv' } },
  destination: { type: 'postgres', dataset: 'late', mode: 'replace' },
});

let remove: () => Promise<void>;
let at: (name: string) => string;
/** What every process gets. */
let env: Record<string, string>;
let up: FluxProcess;

async function start(): Promise<void> {
  up = startFlux(['up', '--workers', '1'], { home: at('home'), env });
  await up.says(/Flux is up/);
  env['FLUX_TOKEN'] = (
    await flux(['token', '--agency', 'alpha', '--role', 'admin', '--sub', 'ada@example.gov'], { home: at('home'), env })
  ).stdout.trim();
}

async function restart(more: Record<string, string>): Promise<void> {
  up.kill('SIGTERM');
  await up.ended;
  env = { ...env, ...more };
  await start();
}

/** Runs the commands of a page's block that are not Kubernetes'. */
function perform(page: string, saying: string, more: Record<string, string> = {}): Promise<Ended> {
  return runShell(shellBlock(page, saying).replaceAll(/^kubectl .*$/gm, ''), at('desk'), { ...env, ...more });
}

async function succeeds(page: string, saying: string, more: Record<string, string> = {}): Promise<string> {
  const ended = await perform(page, saying, more);
  expect(ended, `${page}: ${saying}\n${ended.stdout}${ended.stderr}`).toMatchObject({ code: 0 });
  return ended.stdout;
}

beforeAll(async () => {
  const temporary = await temporaryFolder('runbooks');
  ({ remove } = temporary);
  at = (name) => path.join(temporary.folder, name);
  for (const folder of ['desk', 'sources']) await mkdir(at(folder));
  await chmod(at('sources'), 0o755);
  const years = Array.from({ length: records }, (_, index) => String(1900 + (index % 120)));
  await writeFile(at('sources/readings.csv'), `year\n${years.join('\n')}\n`);
  const issuer = await createTestIssuer('https://id.example.gov');
  const earlier = await createTestIssuer(issuer.issuer);
  const documents: Record<string, unknown> = {
    'alpha.json': {
      slug: 'alpha',
      name: 'Agency Alpha',
      abbreviation: 'AA',
      supported_content_types: ['text'],
      supported_use_cases: ['research'],
      retention_days: 365,
    },
    'files.json': connectionDocument,
    'reading.json': contractDocument,
    'readings.json': pipelineDocument('readings'),
    'jwks-new.json': issuer.jwks,
    'jwks-both.json': { keys: [...issuer.jwks.keys, ...earlier.jwks.keys] },
  };
  for (const [name, document] of Object.entries(documents))
    await writeFile(at(`desk/${name}`), JSON.stringify(document));
  env = {
    FLUX_HOME: at('home'),
    FLUX_PORT: String(await freePort()),
    FLUX_METRICS_PORT: '0',
    FLUX_CONTEXT_KEY: keyOf('11'),
    FLUX_DATA_KEY: keyOf('22'),
    FLUX_AUDIT_KEY: keyOf('33'),
    FLUX_AUDIT_ANCHOR: at('anchor'),
    FLUX_SOURCE_ROOTS: JSON.stringify({ alpha: [at('sources')] }),
    FLUX_WEBHOOK_PRIVATE_HOSTS: '127.0.0.1',
    LOG_LEVEL: 'warn',
    AGENCY: 'alpha',
    ISSUER: issuer.issuer,
    BACKUP: at('backup'),
    EXPORT: at('export'),
  };
  await start();
});

afterAll(async () => {
  up.kill('SIGTERM');
  await up.ended;
  await remove();
});

test('an agency comes', { timeout: 600_000 }, async () => {
  expect(await succeeds('agency-onboarding.md', 'flux agencies add')).toMatch(/alpha added.*wrapped by/s);
  expect(await succeeds('agency-onboarding.md', 'flux issuers add')).toContain('https://id.example.gov');
  await succeeds('agency-onboarding.md', 'flux config check');
  await succeeds('agency-onboarding.md', 'flux pipelines register');
  const runs = await runShell('flux runs list --status COMPLETED --json', at('desk'), env);
  // The dry run is told as one of them.
  expect(JSON.parse(runs.stdout)).toMatchObject([{ pipeline: { name: 'readings' } }, { dryRun: true }]);
  expect(await succeeds('agency-onboarding.md', 'flux audit verify')).toContain('The audit log holds.');
});

test('keys are turned over, and what was sealed before is read', { timeout: 900_000 }, async () => {
  await succeeds('key-rotation.md', 'flux doctor');
  await succeeds('key-rotation.md', 'flux keys reencrypt');

  const nextDataKey = keyOf('44');
  const previous = env['FLUX_DATA_KEY'] ?? '';
  await restart({ FLUX_DATA_KEY: nextDataKey, FLUX_DATA_KEY_PREVIOUS: previous });
  const asBefore = { FLUX_DATA_KEY: previous, NEXT_DATA_KEY: nextDataKey };
  expect(await succeeds('key-rotation.md', 'flux keys rewrap', asBefore)).toContain('alpha: 4 data keys wrapped anew');

  const nextAuditKey = keyOf('55');
  await succeeds('key-rotation.md', 'flux audit key > audit-keys', { NEXT_AUDIT_KEY: nextAuditKey });
  const [present = '', old = ''] = (await readFile(at('desk/audit-keys-both'), 'utf8')).split('\n');
  await restart({
    FLUX_DATA_KEY_PREVIOUS: '',
    FLUX_AUDIT_KEY: nextAuditKey,
    FLUX_AUDIT_PUBLIC_KEY: `${present},${old}`,
  });
  expect(await succeeds('agency-onboarding.md', 'flux runs start readings --watch')).toBeDefined();
  const verify = (...keys: string[]) => runShell(`flux audit verify --key ${keys.join(' ')}`, at('desk'), env);
  // Both keys have signed as soon as neither is enough.
  await eventually(
    () => verify(old),
    ({ code }) => code === 1,
    60_000,
  );
  expect(await verify(present)).toMatchObject({ code: 1 });
  expect(await succeeds('key-rotation.md', 'flux audit verify --key')).toContain('The audit log holds.');

  expect(await succeeds('key-rotation.md', 'jwks-both.json')).toMatch(/alpha .*2 given/);
  await succeeds('key-rotation.md', 'flux issuers remove');
  const hook = await runShell('flux webhooks add http://127.0.0.1:9/ --json', at('desk'), env);
  const { id, secret } = JSON.parse(hook.stdout) as { id: string; secret: string };
  const rotated = await succeeds('key-rotation.md', 'flux webhooks rotate', { WEBHOOK: id });
  expect(rotated).toMatch(/shown this once: whsec_/);
  expect(rotated).not.toContain(secret);

  // Refused while the newest is younger than a minute.
  const retired = await eventually(
    () => perform('key-rotation.md', 'flux keys retire'),
    ({ code }) => code === 0,
    180_000,
  );
  expect(retired.stdout).toContain('alpha: version 1 of its records key is destroyed.');

  up.kill('SIGTERM');
  await up.ended;
  const nextContextKey = keyOf('66');
  // An embedded server stops with the rest, and is migrated as it starts.
  env = { ...env, FLUX_CONTEXT_KEY: nextContextKey };
  await start();
  await succeeds('key-rotation.md', 'FLUX_CONTEXT_KEY="$NEXT_CONTEXT_KEY" flux migrate', {
    NEXT_CONTEXT_KEY: nextContextKey,
  });
  await runShell('flux runs start readings --watch', at('desk'), env).then((ended) =>
    expect(ended).toMatchObject({ code: 0 }),
  );
  expect(await succeeds('key-rotation.md', 'flux doctor')).not.toContain('WRONG');
});

test('what is to be kept is kept, and verifies without the database', async () => {
  await succeeds('backup.md', 'tar -C');
  expect((await stat(at('backup/objects.tar'))).size).toBeGreaterThan(1_000);
  expect(await succeeds('backup.md', 'flux audit export')).toContain('The audit log holds.');
});

test('a full disk is looked at, room is made, and what has failed goes on', async (context) => {
  expect(await succeeds('full-disk.md', 'flux retention run')).toContain('Nothing has expired.');
  await writeFile(at('desk/late.json'), JSON.stringify(lateDocument));
  await runShell('flux pipelines register late.json && flux runs start late', at('desk'), env);
  const failed = await eventually(
    () => runShell('flux runs list --status FAILED --json', at('desk'), env),
    ({ stdout }) => stdout.includes('late'),
    60_000,
  );
  expect(failed.code).toBe(0);
  await writeFile(at('sources/late.csv'), 'year\n1990\n');
  expect(await succeeds('full-disk.md', 'flux runs resume --all')).toContain('The audit log holds.');
  await eventually(
    () => runShell('flux runs list --pipeline late --status COMPLETED --json', at('desk'), env),
    ({ stdout }) => stdout.includes('late'),
    60_000,
  );
  if (!has('psql')) return context.skip('psql is not here');
  const { adminUrl } = await readRunFile(at('home'));
  expect(await succeeds('full-disk.md', 'pg_replication_slots', { DATABASE_URL: adminUrl })).toContain('lake_alpha');
});

test('an agency leaves', async () => {
  const manifest = JSON.parse(await readFile(at('desk/alpha.json'), 'utf8')) as object;
  await writeFile(at('desk/alpha.json'), JSON.stringify({ ...manifest, enabled: false }));
  expect(await succeeds('agency-off-boarding.md', 'flux audit export')).toContain('The audit log holds.');
  await succeeds('agency-off-boarding.md', 'flux retention hold');
  expect(await perform('agency-off-boarding.md', 'flux agencies remove')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('case 7') as string,
  });
  await succeeds('agency-off-boarding.md', 'flux retention lift');
  await succeeds('agency-off-boarding.md', 'flux agencies update');
  await succeeds('agency-off-boarding.md', 'flux issuers remove');
  await succeeds('agency-off-boarding.md', 'flux agencies close');
  expect(await succeeds('agency-off-boarding.md', 'flux agencies remove')).toContain('The audit log holds.');
  expect(await readFile(at('export/removed.txt'), 'utf8')).toMatch(/alpha removed.*What stays:/s);
  expect((await runShell('flux agencies list', at('desk'), env)).stdout).toMatch(/alpha +removed/);
});
