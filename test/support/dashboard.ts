import { spawnSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';

import type { Page } from 'playwright-core';

import { connect } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import { connectionDocument, contractDocument, pipelineDocument } from './api.ts';
import { eventually, flux, type FluxProcess, freePort, readRunFile, startFlux, temporaryFolder } from './flux.ts';

export const dashboardFolder = path.join(import.meta.dirname, '..', '..', 'dashboard');

/** Builds the dashboard as it stands in this checkout, unless that has been done. */
export function buildDashboard(): void {
  const args = [path.join(dashboardFolder, 'build.ts'), '--if-stale'];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`The dashboard was not built: ${stderr}`);
}

export interface DashboardStack {
  url: string;
  /** The database as its superuser. */
  adminUrl(): Promise<string>;
  /**
   * Kills a worker while it holds a partition.
   *
   * @returns its id
   */
  killHolder(): Promise<string>;
  /** Registers a document as the agency's admin. A contract is called as its file is. */
  register(kind: 'connections' | 'contracts' | 'pipelines', name: string, document: unknown): Promise<void>;
  /** Runs a command as the agency's admin, and gives what it printed. */
  flux(args: readonly string[]): Promise<string>;
  /** Writes a file that the pipelines may read. */
  put(name: string, content: string): Promise<void>;
  /** Another API of the same database, a process of its own. */
  serve(port: number): Promise<FluxProcess>;
  stop(): Promise<void>;
}

const manifest = {
  slug: 'nasa',
  name: 'National Aeronautics and Space Administration',
  abbreviation: 'NASA',
  supported_content_types: ['text'],
  supported_use_cases: ['research'],
};

/**
 * `flux up` with the dashboard, an agency, and two pipelines on one CSV: `readings` accepts what is good; `strict` fails at the first
 * record that is not.
 *
 * @param records of the CSV; one in a thousand is broken
 */
export async function startDashboardStack(options: { workers: number; records: number }): Promise<DashboardStack> {
  buildDashboard();
  const { folder, remove } = await temporaryFolder('dashboard');
  const home = path.join(folder, 'home');
  const files = path.join(folder, 'files');
  await mkdir(files, { mode: 0o755 });
  const rows = Array.from({ length: options.records }, (_, i) =>
    i % 1_000 === 500 ? 'unknown' : String(1900 + (i % 120)),
  );
  await writeFile(path.join(files, 'readings.csv'), `year\n${rows.join('\n')}\n`);
  const port = await freePort();
  const env = {
    FLUX_METRICS_PORT: '0',
    FLUX_SOURCE_ROOTS: JSON.stringify({ nasa: [files] }),
    LOG_LEVEL: 'warn',
  };
  const up: FluxProcess = startFlux(['up', '--workers', String(options.workers)], {
    home,
    env: { ...env, FLUX_PORT: String(port) },
  });
  await up.says(/Flux is up/);
  const apis: FluxProcess[] = [];
  const run = async (args: string[], token = ''): Promise<string> => {
    const ended = await flux(args, { home, env: { FLUX_TOKEN: token } });
    if (ended.code !== 0) throw new Error(`flux ${args.join(' ')}: ${ended.stderr}`);
    return ended.stdout.trim();
  };
  const write = async (name: string, content: unknown): Promise<string> => {
    const file = path.join(folder, name);
    await writeFile(file, JSON.stringify(content));
    return file;
  };
  await run(['agencies', 'add', await write('agency.json', manifest)]);
  const admin = await run(['token', '--agency', 'nasa', '--role', 'admin', '--sub', 'pat@example.gov']);
  const register: DashboardStack['register'] = async (kind, name, document) => {
    await run([kind, 'register', await write(`${name}.json`, document)], admin);
  };
  await register('connections', 'files', connectionDocument);
  await register('contracts', 'reading', contractDocument);
  const contract = { name: 'reading', version: 1 };
  const batch = { records: 1_000 };
  await register(
    'pipelines',
    'readings',
    pipelineDocument('readings', { batch, contract: { ...contract, maxRejectedRatio: 0.5 } }),
  );
  await register(
    'pipelines',
    'strict',
    pipelineDocument('strict', { batch, contract: { ...contract, onViolation: 'fail' } }),
  );
  return {
    url: `http://127.0.0.1:${String(port)}`,
    adminUrl: async () => (await readRunFile(home)).adminUrl,
    killHolder: () => killHolder(home),
    register,
    flux: (args) => run([...args], admin),
    put: (name, content) => writeFile(path.join(files, name), content),
    async serve(ownPort) {
      const api = startFlux(['serve'], { home, env: { ...env, LOG_LEVEL: 'info', FLUX_PORT: String(ownPort) } });
      apis.push(api);
      await api.says(/API is ready/);
      return api;
    },
    async stop() {
      for (const process of [...apis, up]) {
        process.kill('SIGTERM');
        await process.ended;
      }
      await remove();
    },
  };
}

/** All workers stand still while it is seen who holds what, so that nobody gives a partition back between the look and the kill. */
async function killHolder(home: string): Promise<string> {
  const { adminUrl, workers } = await readRunFile(home);
  const admin = await connect({ url: adminUrl, applicationName: 'test' });
  const find = async (): Promise<{ id: string; pid: number } | undefined> => {
    for (const { pid } of workers) process.kill(pid, 'SIGSTOP');
    const { rows } = await admin.query<{ id: string }>(sql`
      select leased_by as id from flux.run_partitions p
      where p.status = 'EXECUTING' and p.lease_expires_at > clock_timestamp()
        -- What the server is still at for them may give one back.
        and not exists (select from pg_stat_activity where application_name like 'flux worker%' and state = 'active')
    `);
    const holder = workers.find(({ id }) => rows.some((row) => row.id === id));
    if (holder) process.kill(holder.pid, 'SIGKILL');
    for (const { pid } of workers) if (pid !== holder?.pid) process.kill(pid, 'SIGCONT');
    return holder;
  };
  try {
    return (await eventually(find, (holder) => holder !== undefined, 60_000))?.id ?? '';
  } finally {
    await admin.end();
  }
}

/** Signs in with the role picker of a development machine; ends on the list of runs, live. */
export async function signIn(page: Page, url: string, agency: string, role: string): Promise<void> {
  await page.goto(url);
  const leave = page.getByRole('button', { name: 'Sign out' });
  const enter = page.getByRole('button', { name: 'Sign in' });
  await leave.or(enter).first().waitFor();
  if (await leave.isVisible()) await leave.click();
  await page.getByLabel('Agency').fill(agency);
  await page.locator(`label[for="role-${role}"]`).click();
  await enter.click();
  await leave.waitFor();
}

/** Starts a pipeline with its form, without the dry run; ends on the run's page. */
export async function startRunFromPage(page: Page, url: string, pipeline: string, reason = ''): Promise<void> {
  await page.goto(`${url}/pipelines/${pipeline}`);
  const form = page.getByRole('region', { name: 'Start a run' });
  await form.getByLabel(/^Reason/).fill(reason);
  await form.getByRole('button', { name: 'Start without a dry run' }).click();
  await page.locator('.run-state').waitFor();
}
