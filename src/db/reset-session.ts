import type { Session } from './pool.ts';
import { sql } from './sql.ts';

/**
 * Makes an idle session as new, for other work of the same login: nothing of the work before is there but prepared statements, which
 * hold no values. (DISCARD ALL would let those go too.)
 *
 * @returns false: the session broke meanwhile
 */
export async function resetSession(session: Session): Promise<boolean> {
  try {
    await session.query(
      sql`reset role; reset all; close all; unlisten *; discard temp; discard sequences; select pg_advisory_unlock_all()`,
    );
    return true;
  } catch {
    return false;
  }
}
