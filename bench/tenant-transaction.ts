/**
 * What a tenant's transaction costs: one point read by primary key under row-level security, as `inTenant` does it on an
 * ordinary and on a pipelined pool, with the seal and with a plain setting, beside the same read without any tenancy.
 * Usage: node bench/tenant-transaction.ts ADMIN_URL   (a server where a scratch database may be created)
 */
import { randomBytes } from 'node:crypto';

import { sealContext } from '../src/auth/tenant-context.ts';
import { migrate, sealKey } from '../src/db/migrate.ts';
import { connect, createPool, type Pool } from '../src/db/pool.ts';
import { roleUrl } from '../src/db/roles.ts';
import { ident, sql } from '../src/db/sql.ts';
import { inTenant } from '../src/db/transaction.ts';
import { summarize } from './latency.ts';

const rounds = 3;
const transactions = 2_000;
const read = sql`select name, version from flux.agencies where agency_id = ${'nasa'}`;

async function main(serverUrl: string): Promise<void> {
  const name = `flux_bench_${randomBytes(4).toString('hex')}`;
  const server = await connect({ url: serverUrl, applicationName: 'flux bench' });
  await server.query(sql`create database ${ident(name)}`);
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  try {
    await compare(url.href);
  } finally {
    await server.query(sql`drop database ${ident(name)} with (force)`);
    await server.end();
  }
}

async function compare(adminUrl: string): Promise<void> {
  const contextKey = randomBytes(32);
  const { roles } = await migrate(adminUrl, { contextKey });
  const admin = createPool({ url: adminUrl, max: 1, applicationName: 'flux bench admin', pipeline: true });
  await admin.query(sql`
    insert into flux.agencies
      (agency_id, name, abbreviation, supported_content_types, supported_use_cases, data_classification, retention_days, enabled)
    values ('nasa', 'NASA', 'NASA', '{text}', '{research}', 0, 0, true)
  `);
  const api = roleUrl(adminUrl, roles.api, contextKey);
  const ordinary = createPool({ url: api, max: 1, applicationName: 'flux bench' });
  const pipelined = createPool({ url: api, max: 1, applicationName: 'flux bench', pipeline: true });
  const seal = sealKey(contextKey);
  const sealed = (): string =>
    sealContext(seal, { agency: 'nasa', role: 'viewer', clearance: 0, expiresAt: Math.floor(Date.now() / 1000) + 60 });
  // The same shape with what SQL can forge: a plain setting, and a policy that believes it.
  await admin.query(sql`create table public.agencies_plain (like flux.agencies including all)`);
  await admin.query(sql`insert into public.agencies_plain select * from flux.agencies`);
  await admin.query(sql`alter table public.agencies_plain enable row level security, force row level security`);
  await admin.query(sql`
    create policy own_agency on public.agencies_plain
      using (agency_id = (select nullif(current_setting('flux.plain', true), '')))
  `);
  await admin.query(sql`grant select on public.agencies_plain to ${ident(roles.api)}`);
  const plain = (pool: Pool) => (): Promise<unknown> =>
    pool.withConnection(async (connection) => {
      const read = sql`select name, version from public.agencies_plain where agency_id = ${'nasa'}`;
      await Promise.all([
        connection.query(sql`begin`),
        connection.query(sql`select set_config('flux.plain', ${'nasa'}, true)`),
        connection.query(read),
      ]);
      await connection.query(sql`commit`);
    });
  const tenant = (pool: Pool) => (): Promise<unknown> => inTenant(pool, sealed(), (tx) => tx.query(read));
  const cases: [string, () => Promise<unknown>][] = [
    ['no tenancy, superuser, autocommit', () => admin.query(read)],
    ['inTenant, ordinary pool (four round trips)', tenant(ordinary)],
    ['inTenant, pipelined pool (two round trips)', tenant(pipelined)],
    ['plain set_config, pipelined (two round trips)', plain(pipelined)],
    ['minting a seal in Node', () => Promise.resolve(sealed())],
  ];
  const times = new Map(cases.map(([label]) => [label, [] as number[]]));
  for (let round = 0; round < rounds; round += 1) {
    for (const [label, call] of cases) times.get(label)?.push(...(await time(call)));
  }
  for (const [label, values] of times) {
    const { p50, p99 } = summarize(values);
    process.stdout.write(`| ${label.padEnd(44)} | p50 ${p50.toFixed(3)} ms | p99 ${p99.toFixed(3)} ms |\n`);
  }
  await Promise.all([admin.end(), ordinary.end(), pipelined.end()]);
}

async function time(call: () => Promise<unknown>): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < transactions; i += 1) {
    const start = performance.now();
    await call();
    times.push(performance.now() - start);
  }
  return times;
}

const [url] = process.argv.slice(2);
if (url === undefined) throw new Error('usage: node bench/tenant-transaction.ts ADMIN_URL');
await main(url);
