import { type Connection as ConnectionDocument, validateConnection } from '../contracts/documents.ts';
import { findConnection, saveConnection, type SourceConnection } from '../db/connections.ts';
import { lockName } from '../db/idempotency.ts';
import type { Connection } from '../db/pool.ts';
import { FluxError } from '../errors.ts';
import type { Asked, Caller, DomainDeps } from './caller.ts';
import { requireNoPersonalData } from './no-personal-data.ts';
import { type Change, perform } from './perform.ts';

export interface RegisterConnection extends Asked {
  /** A document of schemas/v1/connection.schema.json, not yet validated. */
  definition: unknown;
}

/**
 * Registers a connection, or changes the one of that name: its pipelines use the new configuration from their next run on.
 *
 * @throws INVALID_INPUT
 */
export async function registerConnection(
  deps: DomainDeps,
  caller: Caller,
  input: RegisterConnection,
): Promise<SourceConnection> {
  const { value } = await perform<SourceConnection, ConnectionDocument>(deps, caller, {
    action: 'connection.register',
    resourceType: 'connection',
    resourceId: nameOf(input.definition),
    reason: input.reason,
    idempotencyKey: input.idempotencyKey,
    request: input.definition ?? null,
    check: () => {
      const definition = validateConnection(input.definition);
      requireNoPersonalData('The connection', definition);
      return definition;
    },
    change: (tx, definition) => save(tx, caller, definition),
    again: async (tx, { name }) => required(await findConnection(tx, String(name)), String(name)),
  });
  return value;
}

async function save(tx: Connection, caller: Caller, definition: ConnectionDocument): Promise<Change<SourceConnection>> {
  const { name, kind, title, config } = definition;
  await lockName(tx, 'connection', name);
  const before = await findConnection(tx, name);
  if (before && before.kind !== kind) {
    throw new FluxError(
      'INVALID_INPUT',
      `The connection ${name} is of kind ${before.kind} and stays so. Register another name for kind ${kind}.`,
    );
  }
  const after = await saveConnection(tx, {
    name,
    kind,
    title: title ?? null,
    config: { ...config },
    createdBy: caller.principal.subject,
  });
  return {
    value: after,
    resourceId: name,
    reference: { name },
    before: before && told(before),
    after: told(after),
  };
}

function told({ name, kind, title, config, version }: SourceConnection): unknown {
  return { name, kind, title, config, version: String(version) };
}

function required(connection: SourceConnection | null, name: string): SourceConnection {
  if (connection) return connection;
  throw new FluxError('NOT_FOUND', `There is no connection ${name}.`);
}

/** The name that an unchecked document gives itself, for the audit entry of its refusal. */
export function nameOf(document: unknown): string | null {
  const name =
    typeof document === 'object' && document !== null ? (document as Record<string, unknown>)['name'] : undefined;
  return typeof name === 'string' && /^[a-z0-9][a-z0-9-]{0,62}$/.test(name) ? name : null;
}
