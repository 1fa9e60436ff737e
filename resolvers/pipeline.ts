import { type Contract, findContract } from '../src/db/contracts.ts';
import { findConnection, type SourceConnection } from '../src/db/connections.ts';
import { findPipeline, listCurrentPipelines, type Pipeline } from '../src/db/pipelines.ts';
import { registerPipeline as register } from '../src/domain/register-pipeline.ts';
import type { DefinitionArgs } from './connection.ts';
import { type Context, read } from './context.ts';
import { type Page, type PageArgs, pageOf } from './cursor.ts';
import { versionedNameOf } from './ids.ts';

export type { Pipeline } from '../src/db/pipelines.ts';

/** A version of a pipeline, the current one if none is named. */
export function pipeline(
  ctx: Context,
  { name, version }: { name: string; version?: number | null | undefined },
): Promise<Pipeline | null> {
  return read(ctx, (tx) => findPipeline(tx, name, version ?? null));
}

/** @param key `name@version` */
export async function pipelineByKey(ctx: Context, key: string): Promise<Pipeline | null> {
  const wanted = versionedNameOf(key);
  return wanted && ctx.loaders.pipeline(wanted.name, wanted.version);
}

export function pipelines(ctx: Context, args: PageArgs): Promise<Page<Pipeline>> {
  return pageOf(ctx, 'pipelines', args, {
    read: (position, limit, backward) =>
      read(ctx, (tx) => listCurrentPipelines(tx, { after: position?.[0] ?? null, limit, backward })),
    positionOf: ({ name }) => [name],
  });
}

export async function contractOf(ctx: Context, { contractName, contractVersion }: Pipeline): Promise<Contract | null> {
  return contractName === null ? null : read(ctx, (tx) => findContract(tx, contractName, contractVersion));
}

export function connectionOf(ctx: Context, { connectionName }: Pipeline): Promise<SourceConnection | null> {
  return read(ctx, (tx) => findConnection(tx, connectionName));
}

export function registerPipeline(ctx: Context, input: DefinitionArgs): Promise<Pipeline> {
  const { definition, reason = null, idempotencyKey = null } = input;
  return register(ctx.api, ctx, { definition, reason, idempotencyKey });
}
