import { canonicalBytes } from '../canonical-json.ts';
import { type Connection as ConnectionDocument, validateConnection } from '../contracts/documents.ts';
import { findConnection, saveConnection, type SourceConnection } from '../db/connections.ts';
import { lockName } from '../db/idempotency.ts';
import type { Connection } from '../db/pool.ts';
import { FluxError } from '../errors.ts';
import { sealConnectionSecret } from '../keys/sealed-records.ts';
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
      requireNoPersonalData('The connection', { ...definition, secret: null });
      return definition;
    },
    change: (tx, definition) => save(tx, deps, caller, definition),
    again: async (tx, { name }) => required(await findConnection(tx, String(name)), String(name)),
  });
  return value;
}

async function save(
  tx: Connection,
  deps: DomainDeps,
  caller: Caller,
  definition: ConnectionDocument,
): Promise<Change<SourceConnection>> {
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
    secret: await secretOf(tx, deps, caller.principal.agency, { before, definition }),
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

/** Sealed; undefined leaves what is kept, which a connection may not take along to another place. */
async function secretOf(
  tx: Connection,
  { keys }: DomainDeps,
  agency: string,
  { before, definition }: { before: SourceConnection | null; definition: ConnectionDocument },
): Promise<Buffer | null | undefined> {
  const { name, kind, secret, config } = definition;
  if (secret === null) return null;
  if (secret !== undefined) {
    if (!keys) {
      throw new FluxError('KEY_UNAVAILABLE', 'Secrets of connections are kept sealed, and this process has no keys.');
    }
    return sealConnectionSecret(await keys.newest(tx, agency, 'records'), { agency, connection: name, kind }, secret);
  }
  if (before?.hasSecret !== true) return undefined;
  if (canonicalBytes(before.config).equals(canonicalBytes({ ...config }))) return undefined;
  throw new FluxError(
    'INVALID_INPUT',
    `The connection ${name} keeps a secret, which does not go along to another config. Give the secret again, or null to take it away.`,
    {
      details: { issues: [{ path: '/secret', rule: 'required', message: 'must be given again with another config' }] },
    },
  );
}

function told({ name, kind, title, config, hasSecret, version }: SourceConnection): unknown {
  return { name, kind, title, config, ...(hasSecret ? { secret: 'kept' } : {}), version: String(version) };
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
