/**
 * The dashboard's own queries (the SDK's documents: runs list, run page, event log page, audit page) by 100 users at once, against
 * Apollo on Express (as usual, and over our way of reading) and Mercurius with JIT on the same schema and database. `node bench/queries.ts`; each server and the
 * users are processes of their own beside Postgres, and the servers take turns in short rounds. See README.md.
 */
import { readFile } from 'node:fs/promises';

import { loadLedger } from '../src/audit/ledger.ts';
import { appendAudit } from '../src/audit/append.ts';
import { batchLimit, step } from '../src/audit/sealer.ts';
import { leadAudit } from '../src/db/audit-sealing.ts';
import { connect } from '../src/db/pool.ts';
import { sql } from '../src/db/sql.ts';
import { inTransaction } from '../src/db/transaction.ts';
import { AuditEntriesDocument, RunDocument, RunEventLogDocument, RunsDocument } from '../sdk/src/generated/graphql.ts';
import { scratchAnchor } from '../test/support/audit.ts';
import { cleanUp, startProcess } from './child-process.ts';
import { startScratchDatabase } from './scratch-database.ts';
import type { UserAnswer, UserOrder } from './query-users.ts';

const users = 100;
const rounds = 3;
const roundMs = 4_000;
const kinds = ['flux', 'express', 'express-reads', 'mercurius'] as const;
type Kind = (typeof kinds)[number];

const database = await startScratchDatabase();
cleanUp(() => database.stop());
const line = (...cells: string[]): void => console.log(`| ${cells.join(' | ')} |`);
const median = (of: number[]): number => [...of].sort((a, b) => a - b)[Math.floor(of.length / 2)] ?? NaN;

try {
  const queries = await fillDatabase();
  const clients = startProcess('query-users.ts', []);
  const servers = new Map(kinds.map((kind) => [kind, startProcess('api-process.ts', [kind, database.apiUrl])]));
  const urls = new Map<Kind, string>();
  for (const [kind, server] of servers) urls.set(kind, (await server.answer<{ url: string }>()).url);
  const ask = (kind: Kind, forMs: number, thinkMs = 0): Promise<UserAnswer> =>
    clients.ask<UserAnswer>({ url: urls.get(kind) as string, users, queries, thinkMs, forMs } satisfies UserOrder);

  const answers = new Map<Kind, string>();
  for (const kind of kinds) answers.set(kind, JSON.stringify((await ask(kind, 2_000)).answers));
  line('the same answers from all', String(new Set(answers.values()).size === 1));

  const rates = new Map<Kind, number[]>(kinds.map((kind) => [kind, []]));
  const work = new Map<Kind, number[]>(kinds.map((kind) => [kind, []]));
  /** Processor time of a server and of the database so far, milliseconds. */
  const worked = async (kind: Kind): Promise<number[]> => {
    const { cpu } = (await servers.get(kind)?.ask<{ cpu: NodeJS.CpuUsage }>('memory')) as { cpu: NodeJS.CpuUsage };
    return [(cpu.user + cpu.system) / 1_000, await databaseTime()];
  };
  for (let round = 1; round <= rounds; round += 1) {
    for (const kind of kinds) {
      const before = await worked(kind);
      const { requestsPerSecond, requests, latency } = await ask(kind, roundMs);
      const [server, backends] = (await worked(kind)).map((ms, i) => (ms - (before[i] ?? 0)) / requests);
      rates.get(kind)?.push(requestsPerSecond);
      work.get(kind)?.push((server ?? NaN) + (backends ?? NaN));
      line(
        `${kind}, round ${String(round)}, 100 at once without a pause`,
        `${requestsPerSecond.toFixed(0)}/s`,
        `processor time of a request: server ${server?.toFixed(2) ?? ''} ms, database ${backends?.toFixed(2) ?? ''} ms`,
        show(latency),
      );
    }
  }
  for (let round = 1; round <= 1; round += 1) {
    for (const kind of kinds) {
      const { requestsPerSecond, latency } = await ask(kind, 5_000, 1_000);
      line(
        `${kind}, round ${String(round)}, 100 users, a page each second`,
        `${requestsPerSecond.toFixed(0)}/s`,
        show(latency),
      );
    }
  }
  const ours = median(rates.get('flux') ?? []);
  const mine = median(work.get('flux') ?? []);
  for (const kind of kinds) {
    const rate = (ours / median(rates.get(kind) ?? [])).toFixed(2);
    const time = (median(work.get(kind) ?? []) / mine).toFixed(2);
    line(`flux / ${kind}, medians`, `${rate} x the requests a second`, `1/${time} of the processor time`);
  }
  clients.process.disconnect();
  for (const server of servers.values()) server.process.disconnect();
} finally {
  await database.stop();
}

/** Processor time of all backends so far, milliseconds; NaN where the system does not tell. What other programs do does not change it. */
async function databaseTime(): Promise<number> {
  const { rows } = await database.admin.query<{ pid: number }>(sql`
    select pid from pg_stat_activity where datname = current_database()
  `);
  const ticks = await Promise.all(
    rows.map(async ({ pid }) => {
      const stat = await readFile(`/proc/${String(pid)}/stat`, 'utf8').catch(() => '');
      const [utime, stime] = stat
        .slice(stat.lastIndexOf(')') + 2)
        .split(' ')
        .slice(11, 13);
      return Number(utime) + Number(stime);
    }),
  );
  return ticks.reduce((sum, some) => sum + some, 0) * 10; // a tick is 10 ms
}

function show(latency: UserAnswer['latency']): string {
  return Object.entries(latency)
    .map(([name, { p50, p99 }]) => `${name} ${p50.toFixed(1)} / ${p99.toFixed(1)} ms`)
    .join(', ');
}

/** A hundred runs of a hundred events each, and as many audit entries. @returns what the dashboard asks of them */
async function fillDatabase(): Promise<UserOrder['queries']> {
  const runs: string[] = [];
  for (let n = 0; n < 100; n += 1) {
    const runId = await database.newRun();
    runs.push(runId);
    await database.append(
      runId,
      Array.from({ length: 100 }, (_, i) => ({
        name: 'BatchCommitted' as const,
        message: `Batch ${String(i)} of partition 3 is durable.`,
        data: { partition: 3, batch: i, recordsRead: 100_000, recordsWritten: 99_871, recordsRejected: 129 },
      })),
    );
    await database.agency.withConnection((connection) =>
      inTransaction(connection, (tx) =>
        appendAudit(tx, {
          actor: 'pat@example.gov',
          role: 'operator',
          action: 'run.start',
          resourceType: 'run',
          resourceId: runId,
          success: true,
          reason: 'the monthly load',
        }),
      ),
    );
  }
  await sealEntries();
  const runId = runs[50] as string;
  const body = (document: { text: string }, variables: object): string =>
    JSON.stringify({ query: document.text, variables });
  return [
    { name: 'runs', body: body(RunsDocument, { first: 25 }) },
    { name: 'run', body: body(RunDocument, { id: runId }) },
    { name: 'events', body: body(RunEventLogDocument, { runId, first: 50, withData: false }) },
    { name: 'audit', body: body(AuditEntriesDocument, { first: 50 }) },
  ];
}

async function sealEntries(): Promise<void> {
  const anchor = await scratchAnchor();
  const connection = await connect({ url: database.sealerUrl, applicationName: 'flux bench sealer' });
  try {
    const epoch = await leadAudit(connection, { sealer: 'bench', epoch: null, leaseMs: 60_000 });
    if (epoch === null) throw new Error('another sealer leads');
    const log = { error: (fields: object) => console.error(fields) };
    const ledger = await loadLedger(connection, { auditKey: Buffer.alloc(32, 9), anchor, log });
    while ((await step(connection, epoch, ledger, { anchor }, true)) === batchLimit);
  } finally {
    await connection.end();
    await anchor.remove();
  }
}
