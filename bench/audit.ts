/**
 * The audit log: how many entries a second one sealer seals over a minute, and how long each waits to be sealed and to be signed; how
 * fast an export of them is verified; what its audit entry adds to a mutation. Three tables; see README.md.
 * Usage: node bench/audit.ts [--seconds=60] [--rate=5500] [seal] [verify] [mutation]
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { createActivityLog } from '../src/audit/activity-log.ts';
import { anchorFile } from '../src/audit/anchor.ts';
import { type AuditEntry, appendAudit } from '../src/audit/append.ts';
import { exportAudit, openExport } from '../src/audit/export.ts';
import { publicKeyOf } from '../src/audit/signed-note.ts';
import { verifyAll } from '../src/audit/verify-all.ts';
import { sealForAudit } from '../src/auth/tenant-context.ts';
import { type Config, loadConfig } from '../src/config.ts';
import { migrate, sealKey } from '../src/db/migrate.ts';
import { connect, createPool, type Pool } from '../src/db/pool.ts';
import { roleUrl } from '../src/db/roles.ts';
import { sql, toQuery } from '../src/db/sql.ts';
import { inTenant, inTransaction } from '../src/db/transaction.ts';
import type { Caller, DomainDeps } from '../src/domain/caller.ts';
import { addAgency } from '../src/domain/provision-agency.ts';
import { updateAgency } from '../src/domain/update-agency.ts';
import { startEmbedded } from '../src/embedded-postgres/start-embedded.ts';
import { summarize } from './latency.ts';

const option = (name: string, otherwise: number): number =>
  Number(new RegExp(`^--${name}=(\\d+)$`, 'm').exec(process.argv.join('\n'))?.[1] ?? otherwise);
const wanted = ['seal', 'verify', 'mutation'].filter((part) => process.argv.includes(part));
const parts = wanted.length > 0 ? wanted : ['seal', 'verify', 'mutation'];
const agencies = Array.from({ length: 8 }, (_, i) => `agency-${String(i)}`);
const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };

interface Bench {
  config: Config;
  adminUrl: string;
  sealerUrl: string;
  api: Pool;
  sealFor(agency: string): string;
}

async function main(): Promise<void> {
  const home = await mkdtemp(path.join(tmpdir(), 'flux-bench-'));
  const config = loadConfig({ ...process.env, FLUX_HOME: home });
  const embedded = await startEmbedded({ home, logger: silent });
  try {
    const { adminUrl } = embedded;
    const { contextKey } = config;
    const { roles } = await migrate(adminUrl, { contextKey });
    for (const slug of agencies) {
      const manifest = {
        slug,
        name: slug,
        abbreviation: slug,
        supported_content_types: ['text'],
        supported_use_cases: ['research'],
      };
      await addAgency({ adminUrl, contextKey, actor: 'bench' }, manifest);
    }
    const api = createPool({
      url: roleUrl(adminUrl, roles.api, contextKey),
      max: 10,
      applicationName: 'flux bench',
      pipeline: true,
    });
    const bench = {
      config,
      adminUrl,
      sealerUrl: roleUrl(adminUrl, roles.sealer, contextKey),
      api,
      sealFor: sealForAudit(sealKey(contextKey)),
    };
    try {
      if (parts.includes('mutation')) await measureMutation(bench);
      if (parts.includes('seal') || parts.includes('verify')) await measureSealing(bench);
      if (parts.includes('verify')) await measureVerification(bench, home);
    } finally {
      await api.end();
    }
  } finally {
    await embedded.stop();
    await rm(home, { recursive: true, force: true });
  }
}

/** As a read leaves it. */
function entry(i: number): AuditEntry {
  return {
    actor: 'someone@example.gov',
    role: 'operator',
    action: 'data.read',
    resourceType: 'run',
    resourceId: '01a21317-b356-772c-935d-6d64babb7df0',
    success: true,
    after: {
      operation: 'RunPage',
      kind: 'query',
      fields: ['Query.run'],
      types: { Run: { count: 1, ids: ['01a21317-b356-772c-935d-6d64babb7df0'] }, RunPartition: { count: i % 50 } },
    },
    traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
    requestId: 'a3b1c9d2-0f0e-4a6e-9a53-6d5a2f0c1b77',
    ip: '192.0.2.17',
    userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
  };
}

/** As the API leaves them: reads gathered by its activity log, and a hundred changes a second in transactions of their own. */
async function produce({ api, sealFor }: Bench, seconds: number, rate: number): Promise<number> {
  const tickMs = 10;
  const perTick = Math.round((rate * tickMs) / 1_000);
  const activity = createActivityLog({ pool: api, sealFor, log: silent, waitingMax: 100_000 });
  const changes = new Set<Promise<unknown>>();
  let appended = 0;
  const startedAt = performance.now();
  for (let tick = 0; performance.now() - startedAt < seconds * 1_000; tick += 1) {
    const of = (i: number): string => agencies[i % agencies.length] as string;
    for (let i = 1; i < perTick; i += 1) activity.add(of(i), entry(i));
    const change = inTenant(api, sealFor(of(tick)), (tx) => appendAudit(tx, entry(tick)));
    changes.add(change);
    void change.finally(() => changes.delete(change));
    appended += perTick;
    await delay(Math.max(0, startedAt + (tick + 1) * tickMs - performance.now()));
  }
  await Promise.all([...changes, activity.stop()]);
  return appended;
}

async function measureSealing(bench: Bench): Promise<void> {
  const seconds = option('seconds', 60);
  const rate = option('rate', 5_500);
  const sealer = spawn(process.execPath, [path.join(import.meta.dirname, '..', 'src', 'cli', 'bin.mjs'), 'sealer'], {
    env: {
      ...process.env,
      FLUX_HOME: bench.config.home,
      FLUX_SEALER_DATABASE_URL: bench.sealerUrl,
      LOG_LEVEL: process.env['LOG_LEVEL'] ?? 'warn',
    },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const admin = await connect({ url: bench.adminUrl, applicationName: 'flux bench' });
  try {
    const waiting = async (): Promise<number> => (await admin.query(sql`select from flux.audit_inbox`)).rowCount;
    await until(async () => (await waiting()) === 0);
    const before = await sealedCount(admin);
    const { rows } = await admin.query<{ now: Date }>(sql`select clock_timestamp() as now`);
    const startedAt = performance.now();
    const appended = await produce(bench, seconds, rate);
    const producedMs = performance.now() - startedAt;
    const atEnd = (await sealedCount(admin)) - before;
    await until(async () => (await sealedCount(admin)) - before === appended);
    sealer.kill('SIGTERM');
    await once(sealer, 'exit');
    const lag = await lags(admin, rows[0]?.now ?? new Date());
    print('appended a second', (appended / producedMs) * 1_000);
    print('sealed a second, until the last was appended', (atEnd / producedMs) * 1_000);
    for (const [label, value] of Object.entries(lag)) print(`${label}, ms`, value);
  } finally {
    sealer.kill('SIGKILL');
    await admin.end();
  }
}

async function sealedCount(admin: Awaited<ReturnType<typeof connect>>): Promise<number> {
  const { rows } = await admin.query<{ size: bigint }>(
    sql`select coalesce(sum(size), 0)::bigint as size from flux.audit_heads`,
  );
  return Number(rows[0]?.size ?? 0n);
}

async function lags(admin: Awaited<ReturnType<typeof connect>>, since: Date): Promise<Record<string, number>> {
  const { rows } = await admin.query<Record<string, number>>(sql`
    with sealed as (
      select a.agency_id, a.seq, extract(epoch from a.sealed_at - a.at) * 1000 as lag, a.at
      from flux.audit_entries a where a.at >= ${since}
    ), signed as (
      select s.lag, extract(epoch from c.signed_at - s.at) * 1000 as signed
      from sealed s
      cross join lateral (
        select k.signed_at from flux.audit_checkpoints k
        where k.agency_id = s.agency_id and k.size >= s.seq order by k.size limit 1
      ) c
    )
    select percentile_cont(0.5) within group (order by lag) as "written to sealed p50",
      percentile_cont(0.99) within group (order by lag) as "written to sealed p99",
      max(lag)::float8 as "written to sealed, longest",
      percentile_cont(0.5) within group (order by signed) as "written to signed p50",
      percentile_cont(0.99) within group (order by signed) as "written to signed p99",
      max(signed)::float8 as "written to signed, longest"
    from signed
  `);
  return rows[0] ?? {};
}

async function measureVerification({ config, adminUrl }: Bench, home: string): Promise<void> {
  const folder = path.join(home, 'export');
  const admin = await connect({ url: adminUrl, applicationName: 'flux bench' });
  await inTransaction(admin, (tx) => exportAudit(tx, folder)).finally(() => admin.end());
  const anchored = await anchorFile(config.auditAnchor).read();
  const rates: number[] = [];
  for (let round = 0; round < 3; round += 1) {
    const startedAt = performance.now();
    const result = await verifyAll(await openExport(folder), anchored, [{ publicKey: publicKeyOf(config.auditKey) }]);
    if (!result.holds) throw new Error(`the log does not hold: ${JSON.stringify(result.problems)}`);
    const entries = result.agencies.reduce((sum, one) => sum + one.entries, 0);
    rates.push((entries / (performance.now() - startedAt)) * 1_000);
    if (round === 0) print('entries verified', entries);
  }
  print('entries verified a second, of three', Math.max(...rates));
}

/** The same mutation with and without its entry, turn by turn. Without: the statement is not sent. */
async function measureMutation({ api, sealFor }: Bench): Promise<void> {
  const without: Pool = {
    ...api,
    withConnection: (use) =>
      api.withConnection((connection) =>
        use({
          ...connection,
          query: (query) =>
            toQuery(query).text.includes('flux.append_audit')
              ? Promise.resolve({ rows: [{ id: '' }] as never[], rowCount: 1 })
              : connection.query(query),
        }),
      ),
  };
  const times = { with: [] as number[], without: [] as number[] };
  for (let i = 0; i < 2_500; i += 1) {
    for (const [name, pool] of i % 2 === 0 ? turns(api, without) : turns(api, without).reverse()) {
      const startedAt = performance.now();
      await mutate({ pool, logger: silent }, sealFor, i);
      if (i >= 500) times[name].push(performance.now() - startedAt);
    }
  }
  const [audited, plain] = [summarize(times.with), summarize(times.without)];
  print('updateAgency without its entry p50, ms', plain.p50);
  print('updateAgency with its entry p50, ms', audited.p50);
  print('the entry adds, %', (audited.p50 / plain.p50 - 1) * 100);
}

function turns(api: Pool, without: Pool): ['with' | 'without', Pool][] {
  return [
    ['with', api],
    ['without', without],
  ];
}

async function mutate(deps: DomainDeps, sealFor: (agency: string) => string, i: number): Promise<void> {
  const caller: Caller = {
    principal: { subject: 'someone@example.gov', agency: 'agency-0', role: 'admin', clearance: 0 },
    sealed: () => sealFor('agency-0'),
    requestId: 'a3b1c9d2-0f0e-4a6e-9a53-6d5a2f0c1b77',
    traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
    ip: '192.0.2.17',
    userAgent: 'bench',
  };
  await updateAgency(deps, caller, {
    name: `Agency ${String(i)}`,
    abbreviation: null,
    retentionDays: null,
    reason: 'monthly',
    idempotencyKey: crypto.randomUUID(),
  });
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error('waited two minutes in vain');
    await delay(50);
  }
}

function print(label: string, value: number): void {
  process.stdout.write(`| ${label.padEnd(48)} | ${value.toFixed(value < 100 ? 2 : 0).padStart(10)} |\n`);
}

await main();
