import { findCheckpoint, listCheckpoints, type StoredCheckpoint } from '../src/db/checkpoints-read.ts';
import { type CheckpointVerification, verifyCheckpoints } from '../src/db/checkpoints-verify.ts';
import { findRun, type Run } from '../src/db/runs.ts';
import { type Context, read } from './context.ts';
import { type Page, type PageArgs, pageOf } from './cursor.ts';
import { isUuid } from './ids.ts';

export type { StoredCheckpoint } from '../src/db/checkpoints-read.ts';
export type { CheckpointFault, CheckpointProblem, CheckpointVerification } from '../src/db/checkpoints-verify.ts';

export async function checkpointById(ctx: Context, id: string | null): Promise<StoredCheckpoint | null> {
  return id !== null && isUuid(id) ? read(ctx, (tx) => findCheckpoint(tx, id)) : null;
}

export function checkpointsOf(ctx: Context, run: Run, page: PageArgs): Promise<Page<StoredCheckpoint>> {
  return pageOf(ctx, `checkpoints:${run.id}`, page, {
    read: (position, limit, backward) =>
      read(ctx, (tx) =>
        listCheckpoints(tx, { runId: run.id, after: position && toPosition(position), limit, backward }),
      ),
    positionOf: ({ partitionNo, version }) => [String(partitionNo), String(version)],
  });
}

export function verificationOf(ctx: Context, run: Run): Promise<CheckpointVerification> {
  return read(ctx, (tx) => verifyCheckpoints(tx, run.id));
}

function toPosition([partitionNo = '0', version = '0']: string[]): { partitionNo: number; version: number } {
  return { partitionNo: Number(partitionNo), version: Number(version) };
}

export function runOf(ctx: Context, { runId }: StoredCheckpoint): Promise<Run | null> {
  return read(ctx, (tx) => findRun(tx, runId));
}

/** The position in the source; null where the bytes are damaged, for then they say nothing. */
export function cursorOf(checkpoint: StoredCheckpoint): string | null {
  const cursor = bodyOf(checkpoint)?.['cursor'];
  return typeof cursor === 'string' ? cursor : null;
}

export interface CheckpointCounts {
  read: bigint;
  written: bigint;
  rejected: bigint;
  filtered: bigint;
  bytes: bigint;
}

export function countsOf(checkpoint: StoredCheckpoint): CheckpointCounts | null {
  const counts = bodyOf(checkpoint)?.['counts'] as Partial<Record<keyof CheckpointCounts, number | string>> | undefined;
  if (!counts) return null;
  const count = (name: keyof CheckpointCounts): bigint => BigInt(counts[name] ?? 0);
  return {
    read: count('read'),
    written: count('written'),
    rejected: count('rejected'),
    filtered: count('filtered'),
    bytes: count('bytes'),
  };
}

function bodyOf({ body, integrity }: StoredCheckpoint): Record<string, unknown> | null {
  return integrity === 'VERIFIED' ? (JSON.parse(body.toString('utf8')) as Record<string, unknown>) : null;
}
