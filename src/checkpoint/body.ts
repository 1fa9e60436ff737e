import { canonicalBytes } from '../canonical-json.ts';
import { sha256 } from '../crypto/hash.ts';
import type { Claim } from '../db/queue.ts';
import { FluxError } from '../errors.ts';
import type { Position } from './position.ts';

/** The version of what a body says and of what its cursor means to the code. Raise it with every change of either. */
const checkpointFormat = 2;

/** The immutable documents under which a checkpoint was written; a position means nothing under others. */
export interface Definitions {
  pipeline: { name: string; version: number };
  contract: { name: string; version: number } | null;
}

/** A checkpoint's stored bytes and their SHA-256. They repeat what identifies them, so that a moved copy does not verify. */
export function encodeCheckpoint(
  claim: Claim,
  position: Position,
  definitions: Definitions,
): { body: Buffer; hash: Buffer } {
  const body = canonicalBytes({
    format: checkpointFormat,
    agency: claim.agencyId,
    run: claim.runId,
    partition: claim.partitionNo,
    epoch: claim.epoch,
    version: position.version,
    previousHash: position.hash?.toString('hex') ?? null,
    cursor: position.cursor,
    counts: position.counts,
    steps: position.steps,
    lastEvent: position.lastEvent,
    ...definitions,
  });
  return { body, hash: sha256(body) };
}

type StoredBody = Omit<Position, 'hash'> & Definitions & { format?: number };

/**
 * Reads back what `encodeCheckpoint` wrote. The database has verified digest, place and chain.
 *
 * @throws CHECKPOINT_INCOMPATIBLE it was written by other code, or under another pipeline or contract version
 */
export function decodeCheckpoint(stored: { body: Buffer; hash: Buffer }, definitions: Definitions): Position {
  const told = JSON.parse(stored.body.toString('utf8')) as StoredBody;
  const { version, cursor, counts, steps, lastEvent } = told;
  requireSameFormat(told);
  requireSameDefinitions(told, definitions);
  return { version, cursor, counts, steps, lastEvent, hash: stored.hash };
}

function requireSameFormat({ format }: StoredBody): void {
  if (format === checkpointFormat) return;
  throw new FluxError(
    'CHECKPOINT_INCOMPATIBLE',
    `The checkpoint has format ${String(format ?? 1)}, this version of Flux reads ${String(checkpointFormat)}. Rerun the run.`,
  );
}

function requireSameDefinitions(told: Definitions, now: Definitions): void {
  const text = ({ pipeline, contract }: Definitions): string =>
    `pipeline ${pipeline.name} ${String(pipeline.version)}` +
    (contract ? ` with contract ${contract.name} ${String(contract.version)}` : ' without a contract');
  if (text(told) === text(now)) return;
  throw new FluxError(
    'CHECKPOINT_INCOMPATIBLE',
    `The checkpoint was written by ${text(told)}, the run has ${text(now)}. Start a new run.`,
  );
}
