import { FluxError } from '../errors.ts';
import { connect, type Queryable } from './pool.ts';
import { agencyRole, lakeSchema, roleUrl } from './roles.ts';
import { ident, join, type Sql, sql } from './sql.ts';

/** Records of a load as PostgreSQL writes their values. */
export interface LakeRow {
  /** The record's number in its source. */
  recordNo: bigint;
  /** In the order of the columns asked for; null where there is none. */
  values: (string | null)[];
}

export interface LakeRead {
  agency: string;
  /** The name of the database. */
  database: string;
  dataset: string;
  loadNo: bigint;
  columns: readonly string[];
  /** Most rows. */
  limit: number;
  /** Most characters of a value; what is longer is cut there. */
  valueLength: number;
  signal?: AbortSignal;
}

/** Reads an agency's lake as that agency: `session_user` is its reading login, which sees its own lake and no table of flux. */
export interface LakeReader {
  /**
   * Some records of a load, by their number.
   *
   * @throws UNAVAILABLE no connection, or the dataset is being replaced
   * @throws LIMIT_EXCEEDED nobody waits for the answer any more
   */
  read(asked: LakeRead): Promise<LakeRow[]>;
}

const connectionsMax = 4;
const statementMs = 5_000;

/** @param options.databaseUrl of any login; the agency's own takes its place */
export function createLakeReader(options: { databaseUrl: string; contextKey: Buffer }): LakeReader {
  const slots = createSlots(connectionsMax);
  return {
    async read(asked) {
      const leave = await slots.enter();
      try {
        if (asked.signal?.aborted === true) {
          throw new FluxError('LIMIT_EXCEEDED', 'Nobody waits for the answer any more, so it was not looked for.');
        }
        const role = agencyRole(asked.database, asked.agency, 'ro');
        // For this reading alone: a pool per agency would hold a connection per agency, and previews are rare.
        const connection = await connect({
          url: roleUrl(options.databaseUrl, role, options.contextKey),
          applicationName: 'flux api, lake',
          statementTimeoutMs: statementMs,
        });
        try {
          return await readRows(connection, asked);
        } finally {
          await connection.end();
        }
      } finally {
        leave();
      }
    },
  };
}

async function readRows(db: Queryable, asked: LakeRead): Promise<LakeRow[]> {
  const { agency, dataset, loadNo, columns, limit, valueLength } = asked;
  const values = columns.map((name): Sql => sql`left(${ident(name)}::text, ${valueLength + 1})`);
  // The inner limit stands before the order: a load of millions of records is not sorted for a screenful.
  const { rows } = await db.query<LakeRow>(sql`
    select _flux_record as "recordNo", shown as "values"
    from (
      select _flux_record, array[${join(values)}]::text[] as shown
      from ${ident(lakeSchema(agency), dataset)}
      where _flux_load = ${loadNo}
      limit ${limit}
    ) as picked
    order by _flux_record
  `);
  return rows;
}

/** Lets so many in at once; the others wait in the order in which they came. */
function createSlots(max: number): { enter(): Promise<() => void> } {
  let free = max;
  const waiting: (() => void)[] = [];
  const leave = (): void => {
    const next = waiting.shift();
    if (next) next();
    else free += 1;
  };
  return {
    async enter() {
      if (free > 0) free -= 1;
      else await new Promise<void>((resolve) => waiting.push(resolve));
      return leave;
    },
  };
}
