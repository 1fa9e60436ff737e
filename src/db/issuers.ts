import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

/** An issuer as one agency trusts it. */
export interface IssuerRow {
  agency: string;
  /** The exact `iss`. */
  issuer: string;
  /** Where its keys are; or `jwks`, the keys themselves. */
  jwksUri: string | null;
  jwks: { keys: Record<string, unknown>[] } | null;
  /** Null: that of all issuers. */
  audience: string | null;
  addedBy: string;
  addedAt: Date;
}

const columns = sql`
  agency_id as "agency",
  issuer,
  jwks_uri as "jwksUri",
  jwks,
  audience,
  added_by as "addedBy",
  added_at as "addedAt"
`;

/** The issuers that the session's agency trusts. */
export async function listOwnIssuers(db: Queryable): Promise<IssuerRow[]> {
  const { rows } = await db.query<IssuerRow>(sql`
    select ${columns}
    from flux.issuers
    where agency_id = (select flux.current_agency())
    order by issuer
  `);
  return rows;
}

/** Every issuer of every agency, as an admin. */
export async function listIssuers(db: Queryable): Promise<IssuerRow[]> {
  const { rows } = await db.query<IssuerRow>(sql`
    select ${columns}
    from flux.issuers
    order by issuer, agency_id
  `);
  return rows;
}

/** Writes it over the present one of that name. As an admin, under the agency's context. */
export async function saveIssuer(db: Queryable, row: Omit<IssuerRow, 'addedAt'>): Promise<void> {
  await db.query(sql`
    insert into flux.issuers (agency_id, issuer, jwks_uri, jwks, audience, added_by)
    values (${row.agency}, ${row.issuer}, ${row.jwksUri}, ${row.jwks === null ? null : JSON.stringify(row.jwks)},
      ${row.audience}, ${row.addedBy})
    on conflict (agency_id, issuer) do update
    set jwks_uri = excluded.jwks_uri,
        jwks = excluded.jwks,
        audience = excluded.audience,
        added_by = excluded.added_by,
        added_at = clock_timestamp()
  `);
}

/** @returns whether there was one */
export async function deleteIssuer(db: Queryable, agency: string, issuer: string): Promise<boolean> {
  const { rowCount } = await db.query(sql`
    delete from flux.issuers
    where agency_id = ${agency}
      and issuer = ${issuer}
  `);
  return rowCount > 0;
}
