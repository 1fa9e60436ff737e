/**
 * Checkpoint commits a second, one connection, in turns: what a batch commits beside its records (lease fence, partition's
 * counts, checkpoint, audit entry, event) against a bare transaction that writes the same rows by plain statements into plain
 * copies of the tables (same columns, checks and indexes; no row-level security, no functions, no foreign keys), of its own size: once
 * as a client sends it who thinks of nothing, and once with its statements prepared, as a worker's are.
 * Usage: node bench/checkpoint-commits.ts [COMMITS]
 */
import { randomUUID } from 'node:crypto';

import { appendAudit } from '../src/audit/append.ts';
import { encodeCheckpoint } from '../src/checkpoint/body.ts';
import { beginning, type Position } from '../src/checkpoint/position.ts';
import { savePosition } from '../src/checkpoint/save.ts';
import { advancePartition, lockLease } from '../src/db/partitions.ts';
import { type Connection, createPool } from '../src/db/pool.ts';
import { type Claim, claimPartition } from '../src/db/queue.ts';
import { sql } from '../src/db/sql.ts';
import { inTransaction, together } from '../src/db/transaction.ts';
import { appendEvents } from '../src/events/append.ts';
import { benchAgency, type ScratchDatabase, startScratchDatabase } from './scratch-database.ts';

const rounds = 3;
const definitions = { pipeline: { name: 'bench', version: 1 }, contract: null };
type State = { position: Position };

async function main(commits: number): Promise<void> {
  const database = await startScratchDatabase();
  const prepared = createPool({
    url: database.adminUrl,
    max: 1,
    applicationName: 'flux bench prepared',
    prepared: true,
  });
  try {
    const claim = await claimed(database);
    await copyTables(database, claim);
    const flux: State = { position: beginning };
    const bare: State = { position: beginning };
    const rates = { flux: [] as number[], bare: [] as number[], prepared: [] as number[] };
    for (let round = 0; round < rounds; round += 1) {
      rates.bare.push(await rate(commits, database.admin, (session) => bareCommit(session, claim, bare)));
      rates.flux.push(await rate(commits, database.agency, (session) => fluxCommit(session, claim, flux)));
      rates.prepared.push(await rate(commits, prepared, (session) => bareCommit(session, claim, bare)));
    }
    const [of, against, alike] = [median(rates.flux), median(rates.bare), median(rates.prepared)];
    const ratio = (other: number): string => `${other.toFixed(0)} (${((100 * of) / other).toFixed(0)} %)`;
    process.stdout.write(
      `| checkpoint commits/s | bare transactions/s | bare and prepared |\n|---|---|---|\n` +
        `| ${of.toFixed(0)} | ${ratio(against)} | ${ratio(alike)} |\n`,
    );
  } finally {
    await prepared.end();
    await database.stop();
  }
}

async function claimed(database: ScratchDatabase): Promise<Claim> {
  const runId = await database.newRun();
  await database.admin.query(sql`
    insert into flux.run_partitions (agency_id, run_id, partition_no, kind, stage)
    values (${benchAgency}, ${runId}, 0, 'PLAN', 'FULL')
  `);
  const worker = createPool({ url: database.workerUrl, max: 1, applicationName: 'flux bench claim' });
  const claim = await claimPartition(worker, { id: 'bench', leaseMs: 3_600_000 }).finally(() => worker.end());
  if (!claim) throw new Error('expected a partition to claim, found none');
  return claim;
}

async function copyTables({ admin }: ScratchDatabase, { runId }: Claim): Promise<void> {
  await admin.query(sql`create schema bare`);
  await admin.query(sql`create table bare.runs (like flux.runs including all)`);
  await admin.query(sql`create table bare.run_partitions (like flux.run_partitions including all)`);
  await admin.query(sql`create table bare.checkpoints (like flux.checkpoints including all)`);
  await admin.query(sql`create table bare.run_events (like flux.run_events including all)`);
  await admin.query(sql`create table bare.audit_inbox (like flux.audit_inbox including all)`);
  await admin.query(sql`insert into bare.runs select * from flux.runs where run_id = ${runId}`);
  await admin.query(sql`insert into bare.run_partitions select * from flux.run_partitions where run_id = ${runId}`);
}

/** As src/worker/commit-batch.ts, in as many round trips. */
function fluxCommit(session: Connection, claim: Claim, state: State): Promise<void> {
  const position = next(state.position);
  return inTransaction(
    session,
    async (tx) => {
      const [, { hash }] = await together(
        tx,
        () => advancePartition(tx, claim, position.counts, { progress: true }),
        () => savePosition(tx, claim, position, { definitions, last: false }),
      );
      const [, [event]] = await together(
        tx,
        () => appendAudit(tx, auditOf(claim, hash)),
        () => appendEvents(tx, claim, [eventOf(position, hash)]),
      );
      if (!event) throw new Error('expected an event');
      state.position = { ...position, hash, lastEvent: { seq: Number(event.seq), id: event.eventId } };
    },
    async (tx) => {
      if (!(await lockLease(tx, claim))) throw new Error('expected to hold the lease');
    },
  );
}

function bareCommit(session: Connection, claim: Claim, state: State): Promise<void> {
  return inTransaction(session, (tx) => bareWrite(tx, claim, state));
}

async function bareWrite(tx: Connection, claim: Claim, state: State): Promise<void> {
  const position = next(state.position);
  const { agencyId, runId, partitionNo, epoch } = claim;
  const { body, hash } = encodeCheckpoint(claim, position, definitions);
  const { message, data } = eventOf(position, hash);
  const [seq, id] = [position.version + 1, randomUUID()];
  await tx.query(sql`
    update bare.run_partitions
    set records_read = ${position.counts.read}, records_written = ${position.counts.written}, takings = 0, updated_at = clock_timestamp()
    where agency_id = ${agencyId} and run_id = ${runId} and partition_no = ${partitionNo}
  `);
  await tx.query(sql`
    insert into bare.checkpoints (agency_id, run_id, partition_no, version, epoch, status, step, body, hash, previous_hash)
    values (${agencyId}, ${runId}, ${partitionNo}, ${position.version}, ${epoch}, 'IN_PROGRESS', 'write', ${body}, ${hash},
      ${position.hash})
  `);
  await tx.query(sql`
    insert into bare.audit_inbox (agency_id, entry_id, at, body)
    values (${agencyId}, ${randomUUID()}, clock_timestamp(), ${Buffer.from(JSON.stringify(auditOf(claim, hash)).padEnd(520))})
  `);
  await tx.query(sql`
    update bare.runs set version = version + 1, last_seq = ${seq}, updated_at = clock_timestamp()
    where agency_id = ${agencyId} and run_id = ${runId}
  `);
  await tx.query(sql`
    insert into bare.run_events (agency_id, run_id, seq, event_id, name, partition_no, attempt, message, data)
    values (${agencyId}, ${runId}, ${seq}, ${id}, 'CheckpointSaved', ${partitionNo}, 1, ${message}, ${JSON.stringify(data)})
  `);
  state.position = { ...position, hash, lastEvent: { seq, id } };
}

function next({ version, counts, ...rest }: Position): Position {
  const read = counts.read + 1_000;
  return { ...rest, version: version + 1, cursor: String(read), counts: { ...counts, read, written: read } };
}

function eventOf({ version }: Position, hash: Buffer) {
  return {
    name: 'CheckpointSaved' as const,
    message: `Checkpoint ${String(version)} saved.`,
    partitionNo: 0,
    data: { version, hash: hash.toString('hex') },
  };
}

function auditOf({ runId }: Claim, hash: Buffer) {
  const after = { checkpointHash: hash.toString('hex') };
  return {
    actor: 'worker:bench',
    role: 'worker',
    action: 'batch.commit',
    resourceType: 'run',
    resourceId: runId,
    success: true,
    after,
  };
}

async function rate(
  count: number,
  pool: ScratchDatabase['agency'],
  commit: (session: Connection) => Promise<void>,
): Promise<number> {
  return pool.withConnection(async (connection) => {
    const start = performance.now();
    for (let done = 0; done < count; done += 1) await commit(connection);
    return (count * 1_000) / (performance.now() - start);
  });
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}

await main(Number(process.argv[2] ?? '500'));
