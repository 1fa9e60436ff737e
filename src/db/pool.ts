import type { Writable } from 'node:stream';

import pg from 'pg';

import { FluxError, toFluxError } from '../errors.ts';
import { inSpan, isTraced, SpanKind } from '../telemetry/tracing.ts';
import { cancelStatement } from './cancel.ts';
import { clientOf } from './channel-binding.ts';
import { type Sql, toQuery } from './sql.ts';

// Counts are bigint in SQL and must not pass through a double; the reader gets a JavaScript bigint.
const int8 = Number(pg.types.builtins.INT8);
const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text') =>
    oid === int8 ? BigInt : (pg.types.getTypeParser(oid, format) as unknown)) as typeof pg.types.getTypeParser,
};

/** Where statements run: a pool or an open transaction. The caller decides which, and so the transaction. */
export interface Queryable {
  query<Row extends pg.QueryResultRow>(query: Sql): Promise<{ rows: Row[]; rowCount: number }>;
}

/** A connection of its own, for a transaction, COPY or LISTEN. `client` is the driver's. */
export interface Connection extends Queryable {
  readonly client: pg.ClientBase;
  /** Whether a statement may be sent at any time before the one in front of it has been answered. */
  readonly pipelined: boolean;
  /** Whether `inOnePacket` may ask more than one thing. */
  readonly bursts: boolean;
  /**
   * What `send` asks before it first waits leaves in one packet: one call of the system and one waking of the server, not one each.
   *
   * @param send resolves when everything that it asked has settled
   */
  inOnePacket<T>(send: () => Promise<T>): Promise<T>;
}

/** A connection outside any pool. */
export interface Session extends Connection {
  /** Whether it stands between transactions and has not broken, as far as is known here. */
  isOrderly(): boolean;
  end(): Promise<void>;
}

export interface Pool extends Queryable {
  /**
   * Lends a connection to `use`; one that failed, or is left inside a transaction, is destroyed, never lent again.
   *
   * @param signal ends the statement that runs when it aborts, on the server too; `use` sees it fail with 57014
   * @throws UNAVAILABLE no connection; LIMIT_EXCEEDED the signal had aborted before there was one
   */
  withConnection<T>(use: (connection: Connection) => Promise<T>, signal?: AbortSignal): Promise<T>;
  /** Counts for metrics. */
  stats(): { total: number; idle: number; waiting: number };
  end(): Promise<void>;
}

export interface PoolOptions {
  url: string;
  /** Most connections at once. */
  max: number;
  applicationName: string;
  /** Longest a statement may run, milliseconds; 0 is without limit. */
  statementTimeoutMs?: number;
  /** Longest wait for a free or new connection, milliseconds. */
  connectTimeoutMs?: number;
  /**
   * For many short transactions: statements are prepared once per connection, and those queued together travel together
   * (half the time of a tenant's transaction is round trips; bench/tenant-transaction.ts). COPY and cursors cannot use such a
   * connection.
   */
  pipeline?: boolean;
  /**
   * For a session that says the same many times and has to copy as well: statements are prepared once, and travel together only where
   * somebody asks for it (`inOnePacket`). `pipeline` prepares them too.
   */
  prepared?: boolean;
  /** Told about connections lost while idle. */
  onError?: (error: Error) => void;
}

/**
 * A client that has gone without a goodbye (a host without power, a cut network) keeps its transaction's locks until the server
 * notices, which by TCP alone takes two hours. Nothing of ours pauses this long between two statements.
 */
const idleInTransactionMs = 10_000;

export function createPool(options: PoolOptions): Pool {
  const pool = new pg.Pool({
    connectionString: options.url,
    Client: clientOf(options.url),
    max: options.max,
    application_name: options.applicationName,
    enableChannelBinding: true,
    connectionTimeoutMillis: options.connectTimeoutMs ?? 5_000,
    idleTimeoutMillis: 30_000,
    idle_in_transaction_session_timeout: idleInTransactionMs,
    keepAlive: true,
    types,
    ...(options.statementTimeoutMs ? { statement_timeout: options.statementTimeoutMs } : {}),
    ...(options.pipeline ? { pipeline: true } : {}),
  });
  const driving = drivingOf(options);
  // Without a listener a connection that dies while idle ends the process.
  pool.on('error', (error) => options.onError?.(error));
  return {
    query: (query) => run(pool, query, driving.names),
    async withConnection(use, signal) {
      const client = await pool.connect().catch((cause: unknown) => {
        throw toFluxError(cause);
      });
      if (signal?.aborted) {
        client.release();
        throw new FluxError('LIMIT_EXCEEDED', 'Nobody waits for the answer any more, so it was not looked for.');
      }
      const cancel = (): void => void cancelStatement(client);
      signal?.addEventListener('abort', cancel, { once: true });
      let failure: Error | undefined;
      const onError = (error: Error): void => {
        failure = error;
      };
      client.on('error', onError);
      try {
        return await use(asConnection(client, driving));
      } catch (cause) {
        failure ??= cause instanceof Error ? cause : new Error(String(cause));
        throw cause;
      } finally {
        client.off('error', onError);
        signal?.removeEventListener('abort', cancel);
        // A request to cancel may arrive when the next statement runs.
        const usable = isOrderly(client) && !signal?.aborted;
        client.release(usable ? undefined : (failure ?? true));
      }
    },
    stats: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
    end: () => pool.end(),
  };
}

/** A single connection outside any pool. @throws UNAVAILABLE when the server does not answer */
export async function connect(options: Omit<PoolOptions, 'max' | 'pipeline'>): Promise<Session> {
  const client = new (clientOf(options.url))({
    connectionString: options.url,
    application_name: options.applicationName,
    enableChannelBinding: true,
    connectionTimeoutMillis: options.connectTimeoutMs ?? 5_000,
    keepAlive: true,
    types,
    ...(options.statementTimeoutMs ? { statement_timeout: options.statementTimeoutMs } : {}),
  });
  let isOver = false;
  client.on('error', (error) => options.onError?.(error));
  client.once('end', () => (isOver = true));
  await client.connect().catch((cause: unknown) => {
    throw toFluxError(cause);
  });
  return {
    ...asConnection(client, drivingOf(options)),
    isOrderly: () => !isOver && isOrderly(client),
    end() {
      isOver = true;
      // The driver waits for what is under way on a pipelined connection before it says goodbye, and a server may never answer.
      (client as Pipelining).pipeline = false;
      return client.end();
    },
  };
}

/** The driver reads its option anew with every statement and answer, so that it can be changed while nothing is under way. */
type Pipelining = pg.ClientBase & { pipeline: boolean };

/** How a connection's statements are sent. */
interface Driving {
  pipelined: boolean;
  /** Absent: unprepared. */
  names?: StatementNames;
}

function drivingOf({ pipeline = false, prepared = false }: Pick<PoolOptions, 'pipeline' | 'prepared'>): Driving {
  if (pipeline) return { pipelined: true, names: createStatementNames() };
  const names = createStatementNames();
  // Without values (begin, commit, definitions) there is nothing to plan, and a simple query is one message instead of four.
  return {
    pipelined: false,
    ...(prepared ? { names: (text, values) => (values > 0 ? names(text, values) : undefined) } : {}),
  };
}

function asConnection(client: pg.ClientBase, { pipelined, names }: Driving): Connection {
  const { stream } = (client as pg.ClientBase & { connection: { stream: Writable } }).connection;
  const corked = <T>(send: () => T): T => {
    stream.cork();
    try {
      return send();
    } finally {
      stream.uncork();
    }
  };
  return {
    client,
    pipelined,
    bursts: names !== undefined,
    query: (query) => run(client, query, names),
    async inOnePacket(send) {
      if (pipelined || names === undefined) return corked(send);
      (client as Pipelining).pipeline = true;
      try {
        return await corked(send);
      } finally {
        // COPY is refused while it is set.
        (client as Pipelining).pipeline = false;
      }
    },
  };
}

async function run<Row extends pg.QueryResultRow>(
  target: pg.Pool | pg.ClientBase,
  query: Sql,
  statements?: StatementNames,
): Promise<{ rows: Row[]; rowCount: number }> {
  const config = toQuery(query);
  const name = statements?.(config.text, config.values.length);
  const { rows, rowCount } = await inStatementSpan(config.text, () =>
    target.query<Row>(name === undefined ? config : { ...config, name }),
  );
  return { rows, rowCount: rowCount ?? 0 };
}

/** Values never enter a statement's text, so that it may be told. Where nothing has begun a trace, a statement does not either. */
export function inStatementSpan<T>(text: string, work: () => Promise<T>): Promise<T> {
  if (!isTraced()) return work();
  const operation = /^\s*(\w+)/.exec(text)?.[1]?.toUpperCase() ?? 'SQL';
  const attributes = { 'db.system.name': 'postgresql', 'db.operation.name': operation, 'db.query.text': text.trim() };
  return inSpan(`postgres ${operation}`, { kind: SpanKind.CLIENT, attributes }, work);
}

/** The name under which a text with so many values is prepared; undefined: it is not. */
type StatementNames = (text: string, values: number) => string | undefined;

/** Texts are few, because values never enter them; beyond this many something builds texts, and is sent unprepared. */
const statementCountMax = 500;

function createStatementNames(): StatementNames {
  const names = new Map<string, string>();
  return (text) => {
    const known = names.get(text);
    if (known !== undefined || names.size >= statementCountMax) return known;
    const name = `flux_${String(names.size + 1)}`;
    names.set(text, name);
    return name;
  };
}

/** Whether the connection stands between transactions ('I' of the protocol's ReadyForQuery), so that it can be lent again. */
function isOrderly(client: pg.ClientBase): boolean {
  return (client as pg.ClientBase & { getTransactionStatus(): string | null }).getTransactionStatus() === 'I';
}
