import {
  type DuckDBConnection,
  DuckDBDataChunk,
  DuckDBInstance,
  type DuckDBPreparedStatement,
  DuckDBScalarFunction,
  type DuckDBType,
  type DuckDBValue,
  VARCHAR,
} from '@duckdb/node-api';
import { literal } from './sql-text.ts';
import { vectorRowCountMax } from './vector-data.ts';

/**
 * A DuckDB that holds nothing and reaches nothing but what its step needs. The order matters: limits first, then the paths,
 * then the doors shut, last the lock, after which not even our own SQL can change a setting.
 */
export interface DuckDbLimits {
  memoryMegabytes: number;
  /** Files that may be read. */
  paths: readonly string[];
  /** Folders whose files may be read and written. */
  folders: readonly string[];
  /** Where it puts what memory cannot hold; absent: nowhere, and the query fails. */
  spillFolder?: string;
  /** Functions of ours that SQL may call. */
  functions?: readonly ScalarFunction[];
}

/** A function over texts. It is asked for values that are there; null among them gives null. */
export interface ScalarFunction {
  name: string;
  parameters: number;
  call(values: readonly string[]): string;
}

export class DuckDbSession {
  readonly #instance: DuckDBInstance;
  readonly #connection: DuckDBConnection;
  #streaming: DuckDBConnection | null = null;
  #planned: { sql: string; statement: DuckDBPreparedStatement } | null = null;

  private constructor(instance: DuckDBInstance, connection: DuckDBConnection) {
    this.#instance = instance;
    this.#connection = connection;
  }

  static async open(limits: DuckDbLimits): Promise<DuckDbSession> {
    const instance = await DuckDBInstance.create(':memory:', {
      // One thread: more of them fight Postgres for the second core and lose (measured: 0.62 against 0.49 of psql's rate).
      threads: '1',
      memory_limit: `${limits.memoryMegabytes}MB`,
      temp_directory: limits.spillFolder ?? '',
      autoinstall_known_extensions: 'false',
      autoload_known_extensions: 'false',
    });
    const session = new DuckDbSession(instance, await instance.connect());
    const list = (paths: readonly string[]): string => `[${paths.map(literal).join(', ')}]`;
    for (const each of limits.functions ?? []) session.#connection.registerScalarFunction(scalarFunction(each));
    await session.run("set TimeZone = 'UTC'");
    await session.run(`set allowed_paths = ${list(limits.paths)}`);
    await session.run(`set allowed_directories = ${list(limits.folders)}`);
    await session.run('set enable_external_access = false');
    await session.run('set lock_configuration = true');
    return session;
  }

  async run(sql: string): Promise<void> {
    await this.#connection.run(sql);
  }

  /** All rows, each an array in column order: numbers to 53 bits as numbers, larger ones as bigints. */
  async rows(sql: string): Promise<unknown[][]> {
    const reader = await this.#connection.runAndReadAll(sql);
    return reader.getRowsJS();
  }

  /**
   * As `rows`, for what is asked again and again: a query is planned once, for as long as its tables stay. A plan rests on what a table holds when
   * it is made, but for rows that are not committed; so a table of such a query has to hold none but those, and some of them at the first time.
   */
  async rowsAgain(sql: string): Promise<unknown[][]> {
    if (this.#planned?.sql !== sql) {
      this.#planned?.statement.destroySync();
      this.#planned = null;
      this.#planned = { sql, statement: await this.#connection.prepare(sql) };
    }
    const reader = await this.#planned.statement.runAndReadAll();
    return reader.getRowsJS();
  }

  /**
   * Rows as DuckDB keeps them, some thousand at a time. They are read as they are asked for, beside the session's other queries. Until the last of
   * them was asked for, or the generator is told to return, what the query has read ahead counts towards the session's memory.
   */
  async *chunks(sql: string): AsyncGenerator<DuckDBDataChunk, void> {
    // A connection has one query at a time.
    this.#streaming ??= await this.#instance.connect();
    const connection = this.#streaming;
    const result = await connection.stream(sql);
    try {
      for (;;) {
        const chunk = await result.fetchChunk();
        if (chunk === null || chunk.rowCount === 0) return;
        yield chunk;
      }
    } finally {
      // Only another query ends one that has rows left; its result would keep them until it is collected.
      await connection.run('select 1');
    }
  }

  /** Puts rows into a temporary table. @param values of each of its columns, one for each row */
  async append(
    table: string,
    types: readonly DuckDBType[],
    values: readonly (readonly DuckDBValue[])[],
  ): Promise<void> {
    const appender = await this.#connection.createAppender(table, null, 'temp');
    const rowCount = values[0]?.length ?? 0;
    try {
      for (let from = 0; from < rowCount; from += vectorRowCountMax) {
        const to = Math.min(from + vectorRowCountMax, rowCount);
        const chunk = DuckDBDataChunk.create(types, to - from);
        for (const [at, column] of values.entries()) chunk.setColumnValues(at, column.slice(from, to));
        appender.appendDataChunk(chunk);
      }
    } finally {
      // One that is left open writes its rows when it is collected, whatever has become of the transaction.
      appender.closeSync();
    }
  }

  /** Names and DuckDB types of the columns that a query would give. */
  async describe(sql: string): Promise<{ name: string; type: string }[]> {
    const rows = await this.rows(`describe ${sql}`);
    return rows.map(([name, type]) => ({ name: String(name), type: String(type) }));
  }

  close(): void {
    this.#planned?.statement.destroySync();
    this.#streaming?.closeSync();
    this.#connection.closeSync();
    this.#instance.closeSync();
  }
}

function scalarFunction({ name, parameters, call }: ScalarFunction): DuckDBScalarFunction {
  return DuckDBScalarFunction.create({
    name,
    parameterTypes: Array.from({ length: parameters }, () => VARCHAR),
    returnType: VARCHAR,
    mainFunction(_info, input, output) {
      const columns = Array.from({ length: parameters }, (_each, at) => input.getColumnVector(at));
      for (let row = 0; row < input.rowCount; row += 1) {
        const values = columns.map((column) => column.getItem(row));
        output.setItem(row, values.includes(null) ? null : call(values as string[]));
      }
      output.flush();
    },
  });
}
