import { findCheckpointAt, type StoredCheckpoint } from '../src/db/checkpoints-read.ts';
import { findLastEvent, type RunEvent } from '../src/db/run-events.ts';
import { findRun, type Run } from '../src/db/runs.ts';
import { type Permission, permissionFor } from '../src/domain/permission.ts';
import type { RunAction } from '../src/domain/run-actions.ts';
import { type WaitingReason, waitingReasonOf } from '../src/domain/waiting.ts';
import { type Context, read } from './context.ts';

export type { Permission } from '../src/domain/permission.ts';
export type { RunAction } from '../src/domain/run-actions.ts';
export type { WaitingCode, WaitingReason } from '../src/domain/waiting.ts';

export function can(ctx: Context, run: Run, { action }: { action: RunAction }): Promise<Permission> {
  const mayWrite = ctx.principal.scopes.has('run:write');
  return read(ctx, (tx) => permissionFor(tx, run, action, { mayWrite }));
}

export async function waitingReasonOfRun(ctx: Context, { id }: Run): Promise<WaitingReason | null> {
  const standstill = await ctx.loaders.standstill(id);
  return standstill && waitingReasonOf(standstill);
}

/** The ending of the attempt before; null in the first. */
export async function resumedFrom(ctx: Context, { id, attempt }: Run): Promise<RunEvent | null> {
  return attempt === 1 ? null : read(ctx, (tx) => findLastEvent(tx, id, attempt - 1));
}

export async function rerunOf(ctx: Context, { rerunOf: first }: Run): Promise<Run | null> {
  return first === null ? null : read(ctx, (tx) => findRun(tx, first));
}

export async function reprocessOf(ctx: Context, { reprocessOf: first }: Run): Promise<Run | null> {
  return first === null ? null : read(ctx, (tx) => findRun(tx, first));
}

export async function inputRun(ctx: Context, { inputRun: earlier }: Run): Promise<Run | null> {
  return earlier === null ? null : read(ctx, (tx) => findRun(tx, earlier));
}

export async function forkedFrom(ctx: Context, { forkedFrom: first }: Run): Promise<Run | null> {
  return first === null ? null : read(ctx, (tx) => findRun(tx, first));
}

export async function forkedFromCheckpoint(
  ctx: Context,
  { forkedFrom: runId, forkedPartition: partitionNo, forkedVersion: version }: Run,
): Promise<StoredCheckpoint | null> {
  if (runId === null || partitionNo === null || version === null) return null;
  return read(ctx, (tx) => findCheckpointAt(tx, { runId, partitionNo, version }));
}
