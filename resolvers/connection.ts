import { findConnection, listConnections, type SourceConnection } from '../src/db/connections.ts';
import { registerConnection as register } from '../src/domain/register-connection.ts';
import { type Context, read } from './context.ts';
import { type Page, type PageArgs, pageOf } from './cursor.ts';

export type { SourceConnection } from '../src/db/connections.ts';

export function connection(ctx: Context, name: string): Promise<SourceConnection | null> {
  return read(ctx, (tx) => findConnection(tx, name));
}

export function connections(ctx: Context, args: PageArgs): Promise<Page<SourceConnection>> {
  return pageOf(ctx, 'connections', args, {
    read: (position, limit, backward) =>
      read(ctx, (tx) => listConnections(tx, { after: position?.[0] ?? null, limit, backward })),
    positionOf: ({ name }) => [name],
  });
}

export interface DefinitionArgs {
  definition?: unknown;
  reason?: string | null | undefined;
  idempotencyKey?: string | null | undefined;
}

export function registerConnection(ctx: Context, input: DefinitionArgs): Promise<SourceConnection> {
  const { definition, reason = null, idempotencyKey = null } = input;
  return register(ctx.api, ctx, { definition, reason, idempotencyKey });
}
