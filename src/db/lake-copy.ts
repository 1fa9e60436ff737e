import type { Readable } from 'node:stream';

import pgCopyStreams from 'pg-copy-streams';

import { cancelStatement } from './cancel.ts';
import type { DatasetColumn } from './loads.ts';
import { connect, type Connection } from './pool.ts';
import { agencyRole, lakeSchema, roleUrl } from './roles.ts';
import { ident, join, literal, type Sql, sql, toQuery } from './sql.ts';

export interface LakeCopyAsked {
  agency: string;
  /** The name of the database. */
  database: string;
  dataset: string;
}

/** Copies datasets out of agencies' lakes, each as the agency's own reading login, which sees its lake and no table of flux. */
export interface LakeCopies {
  /**
   * Locks a dataset against being replaced or changed, and has not looked at it yet.
   *
   * @throws UNAVAILABLE no connection, or the dataset is being replaced
   */
  open(asked: LakeCopyAsked): Promise<LakeCopy>;
}

/** One session that holds a dataset as it is; whoever replaces it waits. */
export interface LakeCopy {
  readonly backendPid: number;
  /** Sees the moment of another transaction (`exportSnapshot`). Before any record is read. */
  lookAt(snapshot: string): Promise<void>;
  /** The records of some of its loads as CSV with a header, by load and record. The server writes no faster than they are read. */
  records(asked: { columns: readonly DatasetColumn[]; loads: readonly bigint[]; nullText: string }): Readable;
  /** How many there were; null before the last has been read. */
  rowCount(): number | null;
  /** Ends the statement that runs and the session. */
  end(): Promise<void>;
}

const lockMs = 5_000;

/** @param options.databaseUrl of any login; the agency's own takes its place */
export function createLakeCopies(options: { databaseUrl: string; contextKey: Buffer }): LakeCopies {
  return {
    async open({ agency, database, dataset }) {
      const connection = await connect({
        url: roleUrl(options.databaseUrl, agencyRole(database, agency, 'ro'), options.contextKey),
        applicationName: 'flux api, package',
      });
      const table = ident(lakeSchema(agency), dataset);
      try {
        await connection.query(sql`begin isolation level repeatable read, read only`);
        await connection.query(sql`set local lock_timeout = ${literal(String(lockMs))}`);
        // What this transaction sees is decided later: from here on no load that it will see can be dropped.
        await connection.query(sql`lock table ${table} in access share mode`);
        return copyOf(connection, table);
      } catch (cause) {
        await connection.end();
        throw cause;
      }
    },
  };
}

function copyOf(connection: Connection & { end(): Promise<void> }, table: Sql): LakeCopy {
  const { client } = connection;
  const backendPid = (client as typeof client & { processID: number }).processID;
  let copy: (Readable & { rowCount: number }) | undefined;
  let isWhole = false;
  let ended: Promise<void> | undefined;
  const end = async (): Promise<void> => {
    // Told to the server, because one that sorts writes nothing and would not learn that nobody reads any more.
    if (copy !== undefined && !isWhole) await cancelStatement(client);
    await connection.end();
  };
  return {
    backendPid,
    async lookAt(snapshot) {
      await connection.query(sql`set transaction snapshot ${literal(snapshot)}`);
      // The file is read by other programs, whatever this database writes by default.
      await connection.query(sql`set local datestyle = 'ISO, YMD'`);
      await connection.query(sql`set local timezone = 'UTC'`);
      await connection.query(sql`set local extra_float_digits = 1`);
    },
    records({ columns, loads, nullText }) {
      const chosen = loads.length === 0 ? sql`false` : sql`_flux_load in (${join(loads.map(numeral))})`;
      const { text } = toQuery(sql`
        copy (
          select ${join(columns.map(written))}
          from ${table}
          where ${chosen}
          order by _flux_load, _flux_record
        ) to stdout (format csv, header true, null ${literal(nullText)}, encoding 'UTF8')
      `);
      copy = client.query(pgCopyStreams.to(text));
      copy.once('end', () => (isWhole = true));
      return copy;
    },
    rowCount: () => (isWhole ? (copy?.rowCount ?? null) : null),
    end: () => (ended ??= end()),
  };
}

const numeral = (load: bigint): Sql => literal(String(load));

/**
 * A value as Table Schema (Data Package v2) writes it, where PostgreSQL would write another: `true` for `t`, `T` between date and time, `INF` for
 * `Infinity`.
 */
function written({ name, type }: DatasetColumn): Sql {
  const column = ident(name);
  if (type === 'boolean') return sql`${column}::text as ${column}`;
  if (type === 'timestamp' || type === 'timestamptz') return sql`to_jsonb(${column}) #>> '{}' as ${column}`;
  if (type === 'double precision' || type === 'numeric') {
    return sql`replace(${column}::text, 'Infinity', 'INF') as ${column}`;
  }
  return column;
}
