import type { Queryable } from './pool.ts';
import { type Sql, sql } from './sql.ts';

/** An entry's RFC 8785 text, cut where `agencyId` and `at`, and where `entryId` stand in it: those the database puts in. */
export interface EntryParts {
  head: string;
  middle: string;
  tail: string;
}

/**
 * Writes an entry of the session's agency into the inbox.
 *
 * @returns the entry's id
 */
export async function appendToInbox(db: Queryable, { head, middle, tail }: EntryParts): Promise<string> {
  const { rows } = await db.query<{ id: string }>(sql`select flux.append_audit(${head}, ${middle}, ${tail}) as id`);
  return (rows[0] as { id: string }).id;
}

/** Writes entries of the session's agency into the inbox, in their order. As the API alone. */
export function inboxBatch(entries: readonly EntryParts[]): Sql {
  return sql`
    select flux.append_audit_batch(
      ${entries.map(({ head }) => head)},
      ${entries.map(({ middle }) => middle)},
      ${entries.map(({ tail }) => tail)}
    )
  `;
}
