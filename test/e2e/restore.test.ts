/**
 * The loss of a database, and the way back of docs/operations/restore.md: a base backup and the log up to a moment in the middle of a
 * run, a new server of both, the page's own commands, and the run to its end.
 */
import { chmod, mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { createFlux, type Flux, successOf } from '#sdk';
import { anchorFile } from '../../src/audit/anchor.ts';
import { localIssuer } from '../../src/auth/local-issuer.ts';
import { type Connection, connect } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import { type EmbeddedPostgres, startEmbedded } from '../../src/embedded-postgres/start-embedded.ts';
import { connectionDocument, contractDocument, pipelineDocument } from '../support/api.ts';
import { eventually, flux, type FluxProcess, freePort, startFlux, temporaryFolder } from '../support/flux.ts';
import {
  archiveAll,
  archivingTo,
  baseBackup,
  layOutRestore,
  loseServer,
  makeArchive,
} from '../support/point-in-time.ts';
import { runShell, shellBlock } from '../support/runbook.ts';

const records = 20_000;
const batchRecords = 250;
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };
const settings = { fsync: 'off', max_connections: '100' };
const open: { servers: EmbeddedPostgres[]; processes: FluxProcess[] } = { servers: [], processes: [] };

let remove: () => Promise<void>;
let at: (name: string) => string;
let env: Record<string, string>;

beforeAll(async () => {
  const temporary = await temporaryFolder('restore');
  ({ remove } = temporary);
  at = (name) => path.join(temporary.folder, name);
  await mkdir(at('sources'));
  const lines = Array.from({ length: records }, (_, index) => String(1900 + (index % 120)));
  await writeFile(at('sources/readings.csv'), `year\n${lines.join('\n')}\n`);
  for (const home of ['lost', 'restored']) {
    await mkdir(at(home));
    await chmod(at(home), 0o711);
  }
  env = {
    FLUX_HOME: at('home'),
    FLUX_PORT: String(await freePort()),
    FLUX_METRICS_PORT: '0',
    FLUX_AUDIT_ANCHOR: at('anchor'),
    FLUX_SOURCE_ROOTS: JSON.stringify({ nasa: [at('sources')] }),
    LOG_LEVEL: 'warn',
  };
});

afterAll(async () => {
  for (const process of open.processes) {
    process.kill('SIGTERM');
    await process.ended;
  }
  for (const server of open.servers) await server.stop();
  await remove();
});

async function up(databaseUrl: string): Promise<FluxProcess> {
  const process = startFlux(['up', '--workers', '1'], {
    home: at('home'),
    env: { ...env, DATABASE_URL: databaseUrl },
  });
  open.processes.push(process);
  await process.says(/Flux is up/);
  return process;
}

async function client(): Promise<Flux> {
  const issuer = await localIssuer(at('home'));
  const token = (): Promise<string> =>
    issuer.sign({ agency: 'nasa', role: 'admin', subject: 'ada@example.gov', minutes: 30 }, 'flux');
  env['FLUX_TOKEN'] = await token();
  env['FLUX_URL'] = `http://127.0.0.1:${env['FLUX_PORT'] ?? ''}`;
  return createFlux({ url: env['FLUX_URL'], token });
}

async function register({ api }: Flux): Promise<void> {
  successOf(await api.registerConnection({ definition: connectionDocument }));
  successOf(await api.registerContract({ name: 'reading', document: contractDocument }));
  const inBatches = { batch: { records: batchRecords } };
  for (const [name, more] of [
    ['readings', {}],
    ['late', { source: { connection: 'files', path: 'late.csv', format: { type: 'csv' } } }],
  ] as const) {
    const destination = { type: 'postgres', dataset: name, mode: 'replace' };
    successOf(
      await api.registerPipeline({ definition: pipelineDocument(name, { ...inBatches, ...more, destination }) }),
    );
  }
}

interface Standing {
  status: string;
  checkpoints: number;
  now: string;
}

async function standing(connection: Connection, runId: string): Promise<Standing | undefined> {
  const { rows } = await connection.query<Standing>(sql`
    select r.status, clock_timestamp()::text as now,
           (select count(*)::int from flux.checkpoints c where c.run_id = r.run_id) as checkpoints
    from flux.runs r where r.run_id = ${runId}
  `);
  return rows[0];
}

/** How many entries the newest checkpoints in the anchor cover. The sealer signs what a moment has held soon after it. */
async function signedInAll(): Promise<number> {
  const newest = new Map(
    (await anchorFile(at('anchor')).read()).map(({ checkpoint }) => [checkpoint.origin, checkpoint]),
  );
  return [...newest.values()].reduce((sum, { size }) => sum + size, 0);
}

const reaches = (connection: Connection, runId: string, status: string): Promise<unknown> =>
  eventually(
    () => standing(connection, runId),
    (found) => found?.status === status,
    120_000,
  );

test(
  'a server restored to a chosen moment agrees with doctor and the audit log, and its runs go on',
  { timeout: 280_000 },
  async () => {
    const archive = at('archive');
    const lost = await startEmbedded({
      home: at('lost'),
      logger: quiet,
      settings: { ...settings, ...archivingTo(archive) },
    });
    open.servers.push(lost);
    await makeArchive(at('lost'), archive);
    const before = await up(lost.adminUrl);
    const manifest = {
      slug: 'nasa',
      name: 'NASA',
      abbreviation: 'NASA',
      supported_content_types: ['text'],
      supported_use_cases: ['research'],
    };
    await writeFile(at('nasa.json'), JSON.stringify(manifest));
    const operator = { home: at('home'), env: { ...env, DATABASE_URL: lost.adminUrl } };
    expect(await flux(['agencies', 'add', at('nasa.json')], operator)).toMatchObject({ code: 0 });

    const first = await client();
    await register(first);
    const source = await connect({ url: lost.adminUrl, applicationName: 'test' });
    // Its source is not there: it fails, and is to be resumed after the restore.
    const { runId: late } = successOf(await first.api.startRun({ pipeline: 'late' }));
    await reaches(source, late, 'FAILED');
    await baseBackup(lost.adminUrl, at('lost'), at('base'));
    const { runId } = successOf(await first.api.startRun({ pipeline: 'readings' }));
    const middle = await eventually(
      () => standing(source, runId),
      (found) => (found?.checkpoints ?? 0) >= 3,
      120_000,
    );
    expect(middle?.status).toBe('IN_PROGRESS');
    const signedAtMoment = await signedInAll();
    // What comes after the moment is to be gone.
    await reaches(source, runId, 'COMPLETED');
    await source.end();
    first.close();
    await eventually(signedInAll, (size) => size > signedAtMoment, 60_000);
    await archiveAll(lost.adminUrl);
    before.kill('SIGTERM');
    await before.ended;
    await lost.stop();
    await loseServer(at('lost'));

    await layOutRestore({
      from: at('lost'),
      backup: at('base'),
      archive,
      home: at('restored'),
      moment: middle?.now ?? '',
    });
    const restored = await startEmbedded({ home: at('restored'), logger: quiet, settings });
    open.servers.push(restored);
    env['DATABASE_URL'] = restored.adminUrl;
    const target = await connect({ url: restored.adminUrl, applicationName: 'test' });
    const found = await standing(target, runId);
    expect(found?.status).toBe('IN_PROGRESS');
    expect(found?.checkpoints).toBeGreaterThanOrEqual(3);
    expect(found?.checkpoints).toBeLessThan(records / batchRecords);

    const run = (block: string) => runShell(block, at('.'), env);
    expect(await run('flux doctor')).toMatchObject({ code: 0 });
    // The anchor remembers what was signed after the moment, and verification says so: that is how a restore is told from a fraud.
    expect(await run('flux audit verify')).toMatchObject({ code: 1 });
    expect(await run(shellBlock('restore.md', 'mv "$FLUX_AUDIT_ANCHOR"'))).toMatchObject({ code: 0, stderr: '' });
    expect((await readdir(at('.'))).filter((name) => name.startsWith('anchor.before-restore-'))).toHaveLength(1);

    await up(restored.adminUrl);
    await reaches(target, runId, 'COMPLETED');
    await writeFile(at('sources/late.csv'), 'year\n1990\n1991\n');
    await run(shellBlock('restore.md', 'flux runs resume --all --status FAILED').replace(/^kubectl .*$/m, ''));
    await reaches(target, late, 'COMPLETED');
    const { rows } = await target.query(sql`
      select (select count(*)::int from lake_nasa.readings) as readings, (select count(*)::int from lake_nasa.late) as late
    `);
    expect(rows).toEqual([{ readings: records, late: 2 }]);
    const { rows: seqs } = await target.query<{ whole: boolean }>(sql`
      select count(*) = max(seq) and min(seq) = 1 as whole from flux.run_events where run_id = ${runId}
    `);
    expect(seqs).toEqual([{ whole: true }]);
    await target.end();
    await eventually(
      () => run('flux audit verify'),
      ({ code }) => code === 0,
      60_000,
    );
  },
);
