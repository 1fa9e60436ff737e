import { Transform, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import pgCopyStreams from 'pg-copy-streams';

import { runningSha256 } from '../crypto/hash.ts';
import { FluxError } from '../errors.ts';
import { cancelStatement } from './cancel.ts';
import type { DatasetColumn } from './loads.ts';
import type { Connection, Queryable } from './pool.ts';
import { ident, join, literal, type Sql, sql, toQuery } from './sql.ts';
import { inTransaction } from './transaction.ts';

/** A column of a dataset as it was copied. */
export interface SnapshotColumn extends DatasetColumn {
  /** Of a numeric: the digits behind the point that its longest value needs; absent for other types. */
  scale?: number;
}

/** The records of a dataset at one moment, in a file. */
export interface Snapshot {
  /** The loads that were part of the dataset, in order. */
  loads: number[];
  /** The highest of the runs that wrote them; null where one of these runs is not kept any more. */
  classification: number | null;
  columns: SnapshotColumn[];
  records: number;
  /** Of the file; lower-case hex. */
  sha256: string;
  byteCount: number;
}

export interface SnapshotRequest {
  agencyId: string;
  /** The agency's lake. */
  schema: string;
  dataset: string;
  columns: readonly DatasetColumn[];
  /** A new file. */
  to: Writable;
  bytesMax: number;
  signal: AbortSignal;
}

/**
 * Copies columns of a dataset into a file: CSV with a header, by load and record, in front of the columns the number of the row. Neither
 * a load that is published meanwhile nor one that replaces or merges changes what is copied.
 *
 * @returns null where no load is part of the dataset
 * @throws LIMIT_EXCEEDED it is larger than `bytesMax`
 */
export async function snapshotDataset(db: Connection, request: SnapshotRequest): Promise<Snapshot | null> {
  const { schema, dataset } = request;
  return inTransaction(db, async (tx) => {
    await tx.query(sql`set transaction isolation level repeatable read`);
    // Before the first query, which takes the snapshot: from here on no load that it will show can be dropped.
    await tx.query(sql`lock table ${ident(schema, dataset)} in access share mode`);
    // The values are read in another program, whatever this database writes by default.
    await tx.query(sql`set local datestyle = 'ISO, YMD'`);
    await tx.query(sql`set local timezone = 'UTC'`);
    const published = await publishedLoads(tx, request);
    if (published.loads.length === 0) return null;
    const scales = await scalesOf(tx, request, published.loads);
    const columns = request.columns.map((column) => ({
      name: column.name,
      type: column.type,
      ...(column.type === 'numeric' ? { scale: scales.get(column.name) ?? 0 } : {}),
    }));
    return { ...published, columns, ...(await copyRows(tx, request, published.loads)) };
  });
}

async function publishedLoads(
  tx: Queryable,
  { agencyId, dataset }: SnapshotRequest,
): Promise<Pick<Snapshot, 'loads' | 'classification'>> {
  const { rows } = await tx.query<{ loadNo: bigint; classification: number | null }>(sql`
    select l.load_no as "loadNo", r.classification
    from flux.loads l
    left join flux.runs r on r.agency_id = l.agency_id and r.run_id = l.run_id
    where l.agency_id = ${agencyId}
      and l.dataset = ${dataset}
      and l.status = 'PUBLISHED'
    order by l.load_no
  `);
  const levels = rows.map(({ classification }) => classification);
  return {
    loads: rows.map(({ loadNo }) => Number(loadNo)),
    classification: levels.includes(null) ? null : Math.max(0, ...(levels as number[])),
  };
}

const ofLoads = ({ schema, dataset }: SnapshotRequest, loads: readonly number[]): Sql => sql`
  from ${ident(schema, dataset)}
  where _flux_load in (${join(loads.map((load) => literal(String(load))))})
`;

async function scalesOf(
  tx: Queryable,
  request: SnapshotRequest,
  loads: readonly number[],
): Promise<ReadonlyMap<string, number>> {
  const names = request.columns.filter(({ type }) => type === 'numeric').map(({ name }) => name);
  if (names.length === 0) return new Map();
  const scales = names.map((name) => sql`coalesce(max(scale(trim_scale(${ident(name)}))), 0)`);
  const { rows } = await tx.query<{ scales: number[] }>(sql`
    select array[${join(scales)}]::int[] as scales
    ${ofLoads(request, loads)}
  `);
  return new Map(names.map((name, i) => [name, rows[0]?.scales[i] ?? 0]));
}

async function copyRows(
  tx: Connection,
  request: SnapshotRequest,
  loads: readonly number[],
): Promise<Pick<Snapshot, 'records' | 'sha256' | 'byteCount'>> {
  const { columns, dataset, to, bytesMax, signal } = request;
  const names = join(columns.map(({ name }) => ident(name)));
  const order = sql`row_number() over (order by _flux_load, _flux_record) as _flux_order`;
  const { text } = toQuery(sql`
    copy (select ${order}, ${names} ${ofLoads(request, loads)} order by 1) to stdout (format csv, header true)
  `);
  signal.throwIfAborted();
  const copy = tx.client.query(pgCopyStreams.to(text));
  // The server ends the statement, so that the session can go on: a stream that is only dropped would leave it in the middle.
  const cancel = (): void => void cancelStatement(tx.client);
  const hash = runningSha256();
  let bytes = 0;
  const limited = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const fitted = bytes <= bytesMax;
      bytes += chunk.length;
      hash.update(chunk);
      if (bytes <= bytesMax) return done(null, chunk);
      if (fitted) cancel();
      done();
    },
  });
  signal.addEventListener('abort', cancel, { once: true });
  try {
    await pipeline(copy, limited, to);
  } catch (cause) {
    if (bytes <= bytesMax) throw cause;
  } finally {
    signal.removeEventListener('abort', cancel);
  }
  if (bytes > bytesMax) throw tooLarge(dataset, bytesMax);
  return { records: copy.rowCount, sha256: hash.digest().toString('hex'), byteCount: bytes };
}

function tooLarge(dataset: string, bytesMax: number): FluxError {
  return new FluxError(
    'LIMIT_EXCEEDED',
    `What the pipeline joins of the dataset ${dataset} is larger than ${String(Math.floor(bytesMax / 1_048_576))} MiB. ` +
      'Join fewer columns, or a dataset that was aggregated or filtered first.',
  );
}
