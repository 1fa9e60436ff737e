import { Socket } from 'node:net';

import pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';

import { FluxError } from '../../errors.ts';
import { guardedLookup, plainHost, requireReachable } from '../../network/guarded-lookup.ts';
import { invalidSource, unavailableSource } from '../refusals.ts';
import { tooLarge } from '../resumed-bytes.ts';
import type { SourceConnector, SourceRequest } from '../source.ts';
import { type Copy, copyOf, sourceTable, type SourceTable } from './source-table.ts';

export interface PostgresSourceOptions {
  /** Agency -> hosts whose private addresses its connections may reach, without TLS too (FLUX_SOURCE_PRIVATE_HOSTS). */
  privateHosts: Readonly<Record<string, readonly string[]>>;
}

const maxBytesDefault = 10 * 2 ** 30;
const connectMs = 10_000;

/**
 * A table or view of another PostgreSQL as CSV with a header: the whole of it, or what has come since a run before. All that is read
 * is of one snapshot (one repeatable-read, read-only transaction), so writers change nothing in the middle, and the server's own
 * count of the rows must agree with what is read from the bytes. Rows come in the order of the primary key, or of the cursor, so
 * that the same rows are the same bytes.
 */
export function createPostgresSource(options: PostgresSourceOptions): SourceConnector {
  return {
    async open(request) {
      const table = tableOf(request);
      requireCsv(request);
      const client = clientOf(request, options);
      // After a connection has broken, pg tells it by an event too; without a listener that would end the process.
      client.on('error', () => undefined);
      const end = (): void => void client.end().catch(() => undefined);
      const abort = (): void => void socketOf(client).destroy();
      request.signal.addEventListener('abort', abort, { once: true });
      const close = (): void => {
        request.signal.removeEventListener('abort', abort);
        end();
      };
      try {
        request.signal.throwIfAborted();
        await client.connect();
        const copy = await begin(client, request, table);
        const rows = { count: null as number | null };
        return {
          origin: originOf(request, table),
          modifiedAt: null,
          ...(copy.increment ? { increment: copy.increment } : {}),
          recordCount: () => rows.count,
          bytes: read(client, request, { copy, rows, close }),
        };
      } catch (cause) {
        close();
        request.signal.throwIfAborted();
        throw failureOf(cause, request, table);
      }
    },
  };
}

/** Opens the snapshot, and finds out in it what is to be read. */
async function begin(client: pg.Client, { source, since }: SourceRequest, table: SourceTable): Promise<Copy> {
  // Values are written one way whatever the server's own settings, in full.
  await client.query(
    `begin isolation level repeatable read, read only; set local timezone = 'UTC'; set local datestyle = 'ISO, YMD';
     set local intervalstyle = 'iso_8601'; set local bytea_output = 'hex'; set local extra_float_digits = 3; set local search_path = ''; set local row_security = off`,
  );
  const cursor = source.incremental?.cursor;
  return copyOf(client, table, cursor === undefined ? null : { cursor, after: (await since?.(cursor)) ?? null });
}

async function* read(
  client: pg.Client,
  request: SourceRequest,
  { copy, rows, close }: { copy: Copy; rows: { count: number | null }; close: () => void },
): AsyncGenerator<Uint8Array, void, undefined> {
  const { config } = request.connection;
  const byteCountMax = typeof config['maxBytes'] === 'number' ? config['maxBytes'] : maxBytesDefault;
  const table = tableOf(request);
  const stream = copyTo(copy.statement);
  try {
    client.query(stream);
    let byteCount = 0;
    for await (const piece of stream as AsyncIterable<Buffer>) {
      request.signal.throwIfAborted();
      byteCount += piece.length;
      if (byteCount > byteCountMax) throw tooLarge(originOf(request, table), byteCountMax);
      yield piece;
    }
    rows.count = stream.rowCount;
    await client.query('commit');
  } catch (cause) {
    request.signal.throwIfAborted();
    throw failureOf(cause, request, table);
  } finally {
    stream.destroy();
    close();
  }
}

function requireCsv({ connection: { name }, source: { format } }: SourceRequest): void {
  const { type, header = true, delimiter = ',', quote = '"', compression } = format;
  if (type === 'csv' && header === true && delimiter === ',' && quote === '"' && compression === undefined) return;
  throw invalidSource(
    `A table of connection "${name}" comes as csv with a header, commas and double quotes. Correct source.format.`,
  );
}

function tableOf({ source: { path }, connection: { name } }: SourceRequest): SourceTable {
  const table = sourceTable(path);
  if (table) return table;
  throw invalidSource(`Expected schema.table in connection "${name}", found "${path}".`);
}

function originOf({ connection: { config } }: SourceRequest, { schema, table }: SourceTable): string {
  return `postgres://${String(config['host'])}:${String(portOf(config))}/${String(config['database'])}/${schema}.${table}`;
}

function clientOf({ agency, connection }: SourceRequest, options: PostgresSourceOptions): pg.Client {
  const { config, secret } = connection;
  const host = plainHost(String(config['host']));
  const privateHosts = options.privateHosts[agency] ?? [];
  if (typeof secret?.['user'] !== 'string') {
    throw invalidSource(`Connection "${connection.name}" has no secret. Register it with user and password.`);
  }
  const plain = config['tls'] === 'off';
  if (plain && !privateHosts.includes(host)) {
    throw invalidSource(
      `Connection "${connection.name}" asks for no TLS. That is for hosts that the operator allows (FLUX_SOURCE_PRIVATE_HOSTS).`,
    );
  }
  try {
    requireReachable(host, privateHosts);
  } catch (cause) {
    throw unreachable(connection.name, cause);
  }
  return new pg.Client({
    host,
    port: portOf(config),
    database: String(config['database']),
    user: secret['user'],
    password: typeof secret['password'] === 'string' ? secret['password'] : '',
    application_name: 'flux source',
    connectionTimeoutMillis: connectMs,
    keepAlive: true,
    ssl: plain
      ? false
      : { rejectUnauthorized: true, ...(typeof config['ca'] === 'string' ? { ca: config['ca'] } : {}) },
    stream: () => guardedSocket(privateHosts),
  });
}

function portOf(config: Readonly<Record<string, unknown>>): number {
  return typeof config['port'] === 'number' ? config['port'] : 5432;
}

/** A socket that connects to nothing but what was checked. */
function guardedSocket(privateHosts: readonly string[]): Socket {
  const socket = new Socket();
  const connect = socket.connect.bind(socket);
  // The driver calls connect(port, host), which leaves no place for a look-up of ours.
  socket.connect = ((port: number, host: string) =>
    connect({ port, host, lookup: guardedLookup(privateHosts) })) as unknown as Socket['connect'];
  return socket;
}

function socketOf(client: pg.Client): Socket {
  return (client as unknown as { connection: { stream: Socket } }).connection.stream;
}

function failureOf(cause: unknown, request: SourceRequest, table: SourceTable): FluxError {
  if (cause instanceof FluxError) return cause;
  const { code, message } = cause as { code?: string; message: string };
  const origin = originOf(request, table);
  if (code === 'ADDRESS_REFUSED') return unreachable(request.connection.name, cause);
  // No such table, database or column; no right to read it; not a table.
  if (code !== undefined && /^(42|3D000|3F000|22|0A)/.test(code)) {
    return invalidSource(
      `${origin} cannot be read (${code}): ${message}. Check source.path, the columns and the user's rights.`,
      cause,
    );
  }
  if (code !== undefined && /^28/.test(code)) {
    return invalidSource(
      `${origin} refuses the user (${code}). Give connection "${request.connection.name}" a secret that may read it.`,
      cause,
    );
  }
  return unavailableSource(`${origin} does not answer (${code ?? message}). Flux tries again.`, cause);
}

function unreachable(connection: string, cause: unknown): FluxError {
  return invalidSource(
    `The host of connection "${connection}" must not be reached: ${(cause as Error).message}. If it should be, the operator allows it (FLUX_SOURCE_PRIVATE_HOSTS).`,
    cause,
  );
}
