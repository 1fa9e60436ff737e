import { type Readable, pipeline } from 'node:stream';

import type { ActivityLog } from '../audit/activity-log.ts';
import { appendAudit, type AuditEntry } from '../audit/append.ts';
import { entryOf } from '../audit/operation-trace.ts';
import type { LakeCopies, LakeCopy } from '../db/lake-copy.ts';
import {
  exportSnapshot,
  findPackageContract,
  findPackagedDataset,
  isInTheWay,
  listPackageLoads,
  listPackagePipelines,
} from '../db/package-facts.ts';
import type { Connection } from '../db/pool.ts';
import { inTenant, inTenantSnapshot } from '../db/transaction.ts';
import { FluxError, toFluxError } from '../errors.ts';
import { frictionlessPackage, nullText } from '../packages/frictionless.ts';
import type { PackageFacts } from '../packages/package-facts.ts';
import { type Measured, Sha256Meter } from '../packages/sha256-meter.ts';
import type { Caller, DomainDeps } from './caller.ts';
import { recordRefusal } from './perform.ts';

export interface PackageDeps extends DomainDeps {
  copies: LakeCopies;
  activity: Pick<ActivityLog, 'admit' | 'add'>;
  /** For tests: how often it is seen whether a run waits, milliseconds. */
  lookMs?: number;
  /** For tests: longest that one may take, milliseconds. */
  packageMsMax?: number;
}

export interface DatasetPackage {
  fileName: string;
  /** The archive as it is made. Whoever has it reads it to its end or destroys it. */
  content: Readable;
}

/** A run that is to replace the dataset waits up to 8 s for a reader (its lock_timeout): twice this is half of it. */
const usualLookMs = 2_000;
const usualMsMax = 30 * 60_000;

/**
 * Packs a dataset for a caller who may read data: the published loads that the caller may see, its clearance included, all of one moment, read as
 * the agency's own reading login. Records pass as fast as they are read, and are never held. What is given out is told to the audit log before the
 * first byte (`package.open`) and when it is over, also too early (`package.close`: records, bytes, SHA-256).
 *
 * A run that has to replace or change the dataset does not wait for long: the package gives way.
 *
 * @throws NOT_FOUND there is no such dataset that the caller may see
 * @throws UNAVAILABLE the lake cannot be read now, or the audit log can keep nothing more
 */
export async function packageDataset(deps: PackageDeps, caller: Caller, name: string): Promise<DatasetPackage> {
  deps.activity.admit();
  try {
    const { facts, copy } = await lookAt(deps, caller, name);
    try {
      await recordOpening(deps, caller, facts);
      return { fileName: `${name}.zip`, content: watched(deps, caller, { facts, copy }) };
    } catch (cause) {
      await copy.end();
      throw cause;
    }
  } catch (cause) {
    const error = toFluxError(cause);
    await recordRefusal(deps, caller, { ...opening, resourceId: name, reason: null }, error);
    throw error;
  }
}

const opening = { action: 'package.open', resourceType: 'dataset' };

interface Looked {
  facts: PackageFacts;
  copy: LakeCopy;
}

/** The dataset's facts and a session that reads its records, both of one moment. */
async function lookAt(deps: PackageDeps, caller: Caller, name: string): Promise<Looked> {
  const { agency } = caller.principal;
  const found = await inTenant(deps.pool, caller.sealed(), (tx) => findPackagedDataset(tx, name));
  if (!found) {
    throw new FluxError('NOT_FOUND', 'There is no such dataset, or none that you may see. Ask for your datasets.');
  }
  const copy = await deps.copies.open({ agency, database: found.database, dataset: name });
  try {
    // The lock is held by now, so what this transaction sees of the loads is what the other session can read.
    const facts = await inTenantSnapshot(deps.pool, caller.sealed(), async (tx) => {
      const seen = await factsOf(tx, agency, name);
      await copy.lookAt(await exportSnapshot(tx));
      return seen;
    });
    return { facts, copy };
  } catch (cause) {
    await copy.end();
    throw cause;
  }
}

async function factsOf(tx: Connection, agency: string, dataset: string): Promise<PackageFacts> {
  const found = await findPackagedDataset(tx, dataset);
  if (!found) throw new FluxError('NOT_FOUND', 'The dataset has gone meanwhile.');
  const loads = await listPackageLoads(tx, dataset);
  const newest = loads.at(-1);
  const contract = newest
    ? await findPackageContract(tx, { pipeline: newest.pipeline, version: newest.pipelineVersion })
    : null;
  const pipelines = await listPackagePipelines(tx, dataset);
  return { agency, dataset, columns: found.columns, createdAt: found.createdAt, loads, pipelines, contract };
}

async function recordOpening(deps: PackageDeps, caller: Caller, { dataset, loads }: PackageFacts): Promise<void> {
  const after = { loads: loads.length, records: String(standing(loads)) };
  await inTenant(deps.pool, caller.sealed(), (tx) =>
    appendAudit(tx, { ...entryOf(caller), ...opening, resourceId: dataset, success: true, after }),
  );
  caller.recorded?.();
}

function standing(loads: PackageFacts['loads']): bigint {
  return loads.reduce((sum, { written, replaced }) => sum + written - replaced, 0n);
}

/** The archive, which ends when it gets into a run's way or takes too long, and is told to the audit log however it ends. */
function watched(deps: PackageDeps, caller: Caller, { facts, copy }: Looked): Readable {
  const { lookMs = usualLookMs, packageMsMax = usualMsMax } = deps;
  const { columns, loads, dataset } = facts;
  let data: Measured | null = null;
  const records = copy.records({ columns, loads: loads.map(({ loadNo }) => loadNo), nullText: nullText(columns) });
  const archive = frictionlessPackage({ facts, records }, (packed) => (data = packed));
  const meter = new Sha256Meter();
  pipeline(archive, meter, () => undefined);
  const stopLooking = lookOut(deps, copy, lookMs, () => meter.destroy(gaveWay(dataset)));
  const timer = setTimeout(() => meter.destroy(tookTooLong(packageMsMax)), packageMsMax);
  let failure: Error | null = null;
  meter.once('error', (cause) => (failure = cause));
  meter.once('close', () => {
    clearTimeout(timer);
    stopLooking();
    const ending = { failure, whole: meter.readableEnded ? meter.measured : null, bytes: meter.bytes };
    deps.activity.add(caller.principal.agency, closingOf(caller, dataset, { ...ending, data, rows: copy.rowCount() }));
    copy.end().catch((err: unknown) => deps.logger.warn({ err }, 'a session of a lake did not end'));
  });
  return meter;
}

/** Whether a run waits for what the session holds, twice in a row: what ends in a moment may end. @returns what stops it */
function lookOut({ pool, logger }: PackageDeps, copy: LakeCopy, everyMs: number, onWaiting: () => void): () => void {
  let waited = false;
  const look = async (): Promise<void> => {
    const waits = await isInTheWay(pool, copy.backendPid);
    if (waits && waited) onWaiting();
    waited = waits;
  };
  const timer = setInterval(
    () => void look().catch((err: unknown) => logger.warn({ err }, 'whether a run waits is not known')),
    everyMs,
  );
  return () => clearInterval(timer);
}

interface Ending {
  failure: Error | null;
  /** Null where it was not read to its end. */
  whole: Measured | null;
  bytes: number;
  data: Measured | null;
  rows: number | null;
}

function closingOf(caller: Caller, dataset: string, { failure, whole, bytes, data, rows }: Ending): AuditEntry {
  const errorCode = failure ? toFluxError(failure).code : null;
  return {
    ...entryOf(caller),
    action: 'package.close',
    resourceType: 'dataset',
    resourceId: dataset,
    success: errorCode === null,
    errorCode,
    after: {
      // As a subscription's: the reader left, or something ended it.
      end: errorCode ?? (whole ? 'ENDED' : 'LEFT'),
      complete: whole !== null,
      bytes: String(bytes),
      records: rows === null ? null : String(rows),
      sha256: whole?.sha256 ?? null,
      dataSha256: data?.sha256 ?? null,
    },
  };
}

function gaveWay(dataset: string): FluxError {
  return new FluxError(
    'UNAVAILABLE',
    `A run was waiting to replace or change ${dataset}, so its package was broken off. Download it again.`,
  );
}

function tookTooLong(ms: number): FluxError {
  return new FluxError(
    'LIMIT_EXCEEDED',
    `The package took more than ${String(Math.round(ms / 60_000))} minutes and was broken off. Download it over a faster line.`,
  );
}
