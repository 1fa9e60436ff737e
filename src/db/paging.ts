import { type Sql, sql } from './sql.ts';

/** How a list is read from a place: `from` is `>` and `order` `asc` where its order is rising; backward both turn round. */
export function direction(backward: boolean | undefined): { from: Sql; order: Sql; against: Sql; reverse: Sql } {
  const [up, down] = [sql`>`, sql`<`];
  const [asc, desc] = [sql`asc`, sql`desc`];
  return backward
    ? { from: down, order: desc, against: up, reverse: asc }
    : { from: up, order: asc, against: down, reverse: desc };
}
