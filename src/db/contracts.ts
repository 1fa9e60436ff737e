import { direction } from './paging.ts';
import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

/** One immutable version of a contract. */
export interface Contract {
  name: string;
  version: number;
  /** RFC 8785 canonical text of the JSON Schema. */
  document: string;
  sha256: Buffer;
  createdBy: string;
  createdAt: Date;
}

export interface VersionedName {
  name: string;
  version: number;
}

const contractColumns = sql`
  name,
  version,
  document,
  sha256,
  created_by as "createdBy",
  created_at as "createdAt"
`;

/** A version of a contract, or its newest when no version is named. */
export async function findContract(db: Queryable, name: string, version: number | null): Promise<Contract | null> {
  const { rows } = await db.query<Contract>(sql`
    select ${contractColumns}
    from flux.contracts
    where agency_id = (select flux.current_agency())
      and name = ${name}
      and (${version}::int is null or version = ${version})
    order by version desc
    limit 1
  `);
  return rows[0] ?? null;
}

/** Pages through all versions, by name and then the newest first. @param limit rows, 1 to 201 */
export async function listContracts(
  db: Queryable,
  { after, limit, backward }: { after: VersionedName | null; limit: number; backward?: boolean },
): Promise<Contract[]> {
  const { from, order, against, reverse } = direction(backward);
  const { rows } = await db.query<Contract>(sql`
    select ${contractColumns}
    from flux.contracts
    where agency_id = (select flux.current_agency())
      and (
        ${after?.name ?? null}::text is null
        or name ${from} ${after?.name ?? ''}
        or (name = ${after?.name ?? ''} and version ${against} ${after?.version ?? 0})
      )
    order by name ${order}, version ${reverse}
    limit ${limit}
  `);
  return rows;
}

/** Stores the next version of a contract. The caller holds the name's lock (`lockName`). */
export async function insertContract(
  db: Queryable,
  { name, document, sha256, createdBy }: { name: string; document: string; sha256: Buffer; createdBy: string },
): Promise<Contract> {
  const { rows } = await db.query<Contract>(sql`
    insert into flux.contracts (agency_id, name, version, document, sha256, created_by)
    select flux.current_agency(), ${name}, coalesce(max(version), 0) + 1, ${document}, ${sha256}::bytea, ${createdBy}
    from flux.contracts
    where agency_id = (select flux.current_agency())
      and name = ${name}
    returning ${contractColumns}
  `);
  return rows[0] as Contract;
}
