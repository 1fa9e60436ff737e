import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

/**
 * Writes an entry of the session's agency into the inbox. The three parts are the entry's RFC 8785 text, cut where `agencyId`
 * and `at`, and where `entryId` stand in it: those the database puts in.
 *
 * @returns the entry's id
 */
export async function appendToInbox(
  db: Queryable,
  { head, middle, tail }: { head: string; middle: string; tail: string },
): Promise<string> {
  const { rows } = await db.query<{ id: string }>(sql`select flux.append_audit(${head}, ${middle}, ${tail}) as id`);
  return (rows[0] as { id: string }).id;
}
