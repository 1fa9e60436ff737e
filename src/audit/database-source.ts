import { readAgencyEntries, type SealedEntry } from '../db/audit-entries.ts';
import { listAuditCheckpoints, listHeads, readTile } from '../db/audit-log-read.ts';
import { installationName } from '../db/audit-sealing.ts';
import type { Queryable } from '../db/pool.ts';
import { hashLeaf } from './merkle.ts';
import type { LogSource, ReadEntry } from './verify.ts';
import type { WholeSource } from './verify-all.ts';

/**
 * The logs in a database, as the transaction sees them: of every agency to an admin, of its own to a tenant.
 *
 * @param only one agency; the log of logs is then left out
 */
export async function databaseSource(tx: Queryable, only?: string): Promise<WholeSource> {
  const checkpoints = await listAuditCheckpoints(tx);
  const heads = (await listHeads(tx)).filter(({ agency }) => only === undefined || agency === only);
  return {
    installation: await installationName(tx),
    logs: heads.map(({ agency, size, peaks, prunedThrough }) => ({
      agency,
      size: Number(size),
      peaks,
      prunedThrough: Number(prunedThrough),
      entries: () => readEntries(tx, agency),
      readTile: (level, tileNo) => readTile(tx, { agency, level, tileNo }),
      notes: checkpoints.filter((one) => one.agency === agency).map(({ note }) => note),
    })) satisfies Omit<LogSource, 'origin'>[],
    logOfLogs: only === undefined ? checkpoints.map(({ logNo, note }) => ({ logNo: Number(logNo), note })) : null,
  };
}

async function* readEntries(tx: Queryable, agency: string): AsyncGenerator<ReadEntry[], void, void> {
  for await (const rows of readAgencyEntries(tx, agency, null)) yield rows.map((row) => readEntry(agency, row));
}

/** The columns beside the body are for filters; what they say must be what the body says. */
export function readEntry(agency: string, row: SealedEntry): ReadEntry {
  const entry: ReadEntry = { seq: Number(row.seq), leaf: hashLeaf(row.body), stored: row.leafHash };
  const body = parse(row.body);
  const columns = [
    'entryId',
    'at',
    'actor',
    'role',
    'action',
    'resourceType',
    'resourceId',
    'success',
    'errorCode',
  ] as const;
  const wrong = body['agencyId'] === agency ? columns.find((name) => (body[name] ?? null) !== row[name]) : 'agencyId';
  if (wrong !== undefined) entry.problem = `the column of ${wrong} does not say what the entry says`;
  if (body['action'] === 'audit.prune') {
    entry.prunedThrough = Number((body['after'] as { prunedThrough?: unknown } | null)?.prunedThrough);
  }
  return entry;
}

function parse(body: Buffer): Record<string, unknown> {
  try {
    return JSON.parse(body.toString('utf8')) as Record<string, unknown>;
  } catch {
    return {};
  }
}
