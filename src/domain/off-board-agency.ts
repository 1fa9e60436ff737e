import { appendAudit } from '../audit/append.ts';
import { legalHoldOf } from '../db/agency-holds.ts';
import * as agencies from '../db/agencies.ts';
import { closeAgencyLogins } from '../db/agency-logins.ts';
import { destroyDataKeys } from '../db/data-keys.ts';
import {
  dropAgencyRoles,
  dropLakeTables,
  remainsOfAgency,
  removePlainContent,
  rewriteDataKeys,
  sampleSealedRows,
} from '../db/off-boarding.ts';
import type { Connection } from '../db/pool.ts';
import { agencyRole } from '../db/roles.ts';
import { FluxError, isFluxError } from '../errors.ts';
import { createKeyRing } from '../keys/key-ring.ts';
import { openPayload, openRejected } from '../keys/sealed-records.ts';
import type { KeyOperator } from './manage-keys.ts';
import { asAgency, underOperatorLock } from './operator.ts';

/** The agency's objects, as far as off-boarding needs them (objects/agency-objects.ts). */
export interface AgencyObjects {
  addresses(agency: string): AsyncIterable<string>;
  /** @throws whatever opening it throws; null when its bytes are plain */
  tryOpen(
    address: string,
    keyOf: (version: number) => Promise<{ version: number; key: Buffer }>,
  ): Promise<'plain' | 'opened'>;
  remove(address: string): Promise<void>;
}

export interface OffBoarding {
  agency: string;
  reason: string;
}

/** What off-boarding did, and what it could not do. */
export interface OffBoarded {
  agency: string;
  keysDestroyed: number;
  lakeTablesDropped: number;
  rolesDropped: number;
  /** Objects at the time: how many could still be opened after the keys were gone (none), were plain, and were removed. */
  objects: { found: number; unreadable: number; plain: number; opened: number; removed: number };
  /**
   * Sealed values that stay in tables; how many of them were tried, one of each kind that there is, and whether every attempt found
   * no key; plain ones that were taken out.
   */
  rows: {
    sealedPayloads: number;
    sealedRecords: number;
    tried: number;
    unreadable: boolean;
    plainRemoved: number;
    webhooksRemoved: number;
  };
  /** What stays, in words for the agency's security officer. */
  residue: readonly string[];
}

/** As many as one transaction can hold locks for, with their indexes. */
const tablesPerTransaction = 15;

/**
 * Ends an agency's stay for good: nobody can log in as it, its data keys are destroyed (and with them whatever they sealed,
 * wherever copies of it are), its lake and logins are dropped, its objects tried and removed. Its audit log stays. Broken off,
 * it goes on when it is asked again. `flux agencies add` may give the slug a new beginning, with new keys.
 *
 * @throws NOT_FOUND there never was such an agency
 * @throws INVALID_INPUT a legal hold keeps it, or there is no reason
 * @throws RUN_CONFLICT it has runs that are not over
 */
export async function offBoardAgency(
  operator: KeyOperator,
  objects: AgencyObjects,
  { agency, reason }: OffBoarding,
): Promise<OffBoarded> {
  if (reason.trim() === '')
    throw new FluxError('INVALID_INPUT', 'A reason is needed to remove an agency. Say why, for its audit log.');
  return underOperatorLock(operator, 'flux agencies remove', async (admin) => {
    const database = await agencies.currentDatabase(admin);
    const roles = [agencyRole(database, agency, 'rw'), agencyRole(database, agency, 'ro')];
    const asTenant = <T>(work: (tx: Connection) => Promise<T>): Promise<T> =>
      asAgency(admin, operator.contextKey, agency, work);
    const keysDestroyed = await asTenant((tx) => closeAndShred(tx, operator, { agency, reason }));
    await rewriteDataKeys(admin);
    let lakeTablesDropped = 0;
    for (let dropped = 1; dropped > 0; lakeTablesDropped += dropped) {
      dropped = await asTenant((tx) => dropLakeTables(tx, agency, tablesPerTransaction));
    }
    const before = await asTenant((tx) => remainsOfAgency(tx, agency, roles));
    await asTenant((tx) => dropAgencyRoles(tx, agency, roles));
    const tried = await tryObjects(admin, operator, objects, agency);
    const rows = await asTenant((tx) => tryRows(tx, operator, agency));
    return asTenant(async (tx) => {
      const after = await remainsOfAgency(tx, agency, roles);
      const done: OffBoarded = {
        agency,
        keysDestroyed,
        lakeTablesDropped,
        rolesDropped: before.roles - after.roles,
        objects: tried,
        rows,
        residue: residueOf(after),
      };
      requireGone(after, done);
      await audit(tx, operator, { agency, reason }, 'agency.remove.done', done);
      return done;
    });
  });
}

/** The point of no return, in one transaction with its audit entry. */
async function closeAndShred(tx: Connection, operator: KeyOperator, asked: OffBoarding): Promise<number> {
  const { agency } = asked;
  const before = await agencies.readAgency(tx, agency);
  if (!before) throw new FluxError('NOT_FOUND', `There is no agency ${agency}. See flux agencies list.`);
  const hold = legalHoldOf(before);
  if (hold) {
    throw new FluxError(
      'INVALID_INPUT',
      `A legal hold keeps everything of ${agency} since ${hold.since.toISOString()} (${hold.reason}). Its admin lifts it first.`,
    );
  }
  const active = await agencies.countActiveRuns(tx, agency);
  if (active > 0n) {
    throw new FluxError(
      'RUN_CONFLICT',
      `Agency ${agency} has ${String(active)} ${active === 1n ? 'run' : 'runs'} not over. Disable it (enabled: false), let them end, then remove it.`,
    );
  }
  if (before.enabled) await agencies.updateAgencyRow(tx, { ...before, enabled: false });
  await closeAgencyLogins(tx, agency);
  const destroyed = await destroyDataKeys(tx, agency);
  await audit(tx, operator, asked, 'agency.remove', { keysDestroyed: destroyed });
  return destroyed;
}

/** Tries every object with all that the operator has, then removes it. */
async function tryObjects(
  admin: Connection,
  operator: KeyOperator,
  objects: AgencyObjects,
  agency: string,
): Promise<OffBoarded['objects']> {
  const keys = createKeyRing(operator.encryption, { cacheMs: 0 });
  const keyOf = (version: number) =>
    asAgency(admin, operator.contextKey, agency, (tx) => keys.ofVersion(tx, agency, 'objects', version));
  const tried = { found: 0, unreadable: 0, plain: 0, opened: 0, removed: 0 };
  for await (const address of objects.addresses(agency)) {
    tried.found += 1;
    const outcome = await objects.tryOpen(address, keyOf).catch((cause: unknown) => {
      if (isFluxError(cause, 'KEY_UNAVAILABLE')) return 'unreadable' as const;
      throw cause;
    });
    tried[outcome] += 1;
    await objects.remove(address);
    tried.removed += 1;
  }
  return tried;
}

async function tryRows(tx: Connection, operator: KeyOperator, agency: string): Promise<OffBoarded['rows']> {
  const plain = await removePlainContent(tx, agency);
  const { payloads, records, payload, record } = await sampleSealedRows(tx, agency);
  const opener = { keys: createKeyRing(operator.encryption, { cacheMs: 0 }), db: tx };
  // A record's place is not looked up: without its key none is asked for, and a wrong place with a key is no KEY_UNAVAILABLE.
  const nowhere = { agency, sourceSha256: '', contractName: null, contractVersion: null };
  const attempts = [
    ...(payload ? [openPayload(opener, { agency, runId: payload.runId }, payload.sealed)] : []),
    ...(record ? [openRejected(opener, { ...nowhere, recordNo: record.recordNo }, record.sealed)] : []),
  ];
  const outcomes = await Promise.allSettled(attempts);
  return {
    sealedPayloads: payloads,
    sealedRecords: records,
    tried: attempts.length,
    unreadable: outcomes.every(
      (outcome) => outcome.status === 'rejected' && isFluxError(outcome.reason, 'KEY_UNAVAILABLE'),
    ),
    plainRemoved: plain.payloads + plain.records + plain.plans,
    webhooksRemoved: plain.webhooks,
  };
}

function requireGone(after: Awaited<ReturnType<typeof remainsOfAgency>>, done: OffBoarded): void {
  if (after.roles + after.lakes + after.liveKeys + done.objects.opened === 0 && done.rows.unreadable) return;
  throw new FluxError(
    'INTERNAL',
    `Agency ${done.agency} is not wholly removed: ${JSON.stringify({ ...after, ...done.objects })}.`,
  );
}

function residueOf({ auditEntries, runs }: { auditEntries: number; runs: number }): string[] {
  return [
    `${String(auditEntries)} sealed audit entries and their signed checkpoints stay, in the database and in the anchor: they are evidence, kept for their own retention.`,
    `${String(runs)} runs with their events, counts and checkpoints stay until their retention ends; payloads and refused records among them are sealed under destroyed keys.`,
    'Definitions (connections, contracts, pipelines), requesters, reasons and the paths of sources are not sealed and stay with the runs.',
    'The lake was plain tables: dropped, its pages may still be read from the disk until they are overwritten, and from WAL and backups until those expire. Encrypt the volume, and expire WAL archives and backups taken before now.',
    'Backups taken before now also hold the wrapped data keys. Whoever has such a backup and FLUX_DATA_KEY can unwrap them: expire those backups, or rewrap the remaining agencies and destroy the old FLUX_DATA_KEY (flux keys rewrap).',
    'Running API and worker processes forget an unwrapped key within 30 seconds.',
  ];
}

async function audit(
  tx: Connection,
  { actor }: KeyOperator,
  { agency, reason }: OffBoarding,
  action: string,
  after: unknown,
): Promise<void> {
  await appendAudit(tx, {
    actor,
    role: 'platform',
    action,
    resourceType: 'agency',
    resourceId: agency,
    success: true,
    reason,
    after,
  });
}
