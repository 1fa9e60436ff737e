import type { VersionedName } from './contracts.ts';
import { direction } from './paging.ts';
import type { Queryable } from './pool.ts';
import { type Sql, sql } from './sql.ts';

/** One immutable version of a pipeline. */
export interface Pipeline {
  name: string;
  version: number;
  title: string;
  contentType: string;
  useCase: string;
  /** 0 (U) to 5 (SCI). */
  classification: number;
  contractName: string | null;
  contractVersion: number | null;
  connectionName: string;
  /** RFC 8785 canonical text of the definition. */
  definition: string;
  sha256: Buffer;
  enabled: boolean;
  createdBy: string;
  createdAt: Date;
}

export type NewPipeline = Omit<Pipeline, 'version' | 'enabled' | 'createdAt'>;

const pipelineColumns = sql`
  name,
  version,
  title,
  content_type as "contentType",
  use_case as "useCase",
  classification,
  contract_name as "contractName",
  contract_version as "contractVersion",
  connection_name as "connectionName",
  definition,
  sha256,
  enabled,
  created_by as "createdBy",
  created_at as "createdAt"
`;

/** A version of a pipeline, or its current (highest) one when no version is named. */
export async function findPipeline(db: Queryable, name: string, version: number | null): Promise<Pipeline | null> {
  const { rows } = await db.query<Pipeline>(sql`
    select ${pipelineColumns}
    from flux.pipelines
    where agency_id = (select flux.current_agency())
      and name = ${name}
      and (${version}::int is null or version = ${version})
    order by version desc
    limit 1
  `);
  return rows[0] ?? null;
}

/** The current (highest) versions of the pipelines that are asked for, in no order. @param names at most 200 */
export async function findCurrentPipelines(db: Queryable, names: readonly string[]): Promise<Pipeline[]> {
  const [only, ...others] = names;
  if (only !== undefined && others.length === 0) {
    // PostgreSQL keeps this one's plan; that of a list it makes anew each time, since it cannot know how long the list will be.
    const pipeline = await findPipeline(db, only, null);
    return pipeline ? [pipeline] : [];
  }
  const { rows } = await db.query<Pipeline>(sql`
    select current.*
    from unnest(${[...names]}::text[]) as wanted (name)
    cross join lateral (
      select ${pipelineColumns}
      from flux.pipelines as p
      where p.agency_id = (select flux.current_agency())
        and p.name = wanted.name
      order by p.version desc
      limit 1
    ) as current
  `);
  return rows;
}

/**
 * Fails (FX011) unless the session's agency is enabled and each of the pipelines, of different names, is what `findCurrentPipelines`
 * would find, and enabled; also when the clock that ids were made by is not the database's.
 *
 * @param clock milliseconds since 1970
 */
export function currentPipelinesGuard(pipelines: readonly Pipeline[], clock: number): Sql {
  return sql`
    select flux.require_pipelines(
      ${pipelines.map(({ name }) => name)}::text[],
      ${pipelines.map(({ version }) => version)}::int[],
      ${pipelines.map(({ sha256 }) => sha256)}::bytea[],
      ${clock}::bigint
    )
  `;
}

/** The versions that are asked for, in no order. @param keys at most 200 */
export async function findPipelines(db: Queryable, keys: readonly VersionedName[]): Promise<Pipeline[]> {
  const { rows } = await db.query<Pipeline>(sql`
    select ${pipelineColumns}
    from flux.pipelines p
    where agency_id = (select flux.current_agency())
      and exists (
        select
        from unnest(${keys.map((key) => key.name)}::text[], ${keys.map((key) => key.version)}::int[]) as wanted (name, version)
        where wanted.name = p.name and wanted.version = p.version
      )
  `);
  return rows;
}

/** Pages through the current versions by name. @param limit rows, 1 to 201 */
export async function listCurrentPipelines(
  db: Queryable,
  { after, limit, backward }: { after: string | null; limit: number; backward?: boolean },
): Promise<Pipeline[]> {
  const { from, order } = direction(backward);
  const { rows } = await db.query<Pipeline>(sql`
    select distinct on (name) ${pipelineColumns}
    from flux.pipelines
    where agency_id = (select flux.current_agency())
      and (${after}::text is null or name ${from} ${after})
    order by name ${order}, version desc
    limit ${limit}
  `);
  return rows;
}

/**
 * The current, enabled pipelines by name; of one content type and use case where `purpose` names them.
 *
 * @param limit rows, at most 50: enough to choose by, and to see that there are several
 */
export async function findEnabledPipelines(
  db: Queryable,
  { purpose, limit }: { purpose: { contentType: string; useCase: string } | null; limit: number },
): Promise<Pipeline[]> {
  const { rows } = await db.query<Pipeline>(sql`
    select *
    from (
      select distinct on (name) ${pipelineColumns}
      from flux.pipelines
      where agency_id = (select flux.current_agency())
      order by name, version desc
    ) as current
    where enabled
      and (${purpose?.contentType ?? null}::text is null or "contentType" = ${purpose?.contentType ?? null})
      and (${purpose?.useCase ?? null}::text is null or "useCase" = ${purpose?.useCase ?? null})
    order by name
    limit ${limit}
  `);
  return rows;
}

/**
 * Stores the next version of a pipeline. The caller holds the name's lock (`lockName`).
 *
 * @throws 23505 pipelines_pkey when the name has versions above the caller's clearance
 */
export async function insertPipeline(db: Queryable, pipeline: NewPipeline): Promise<Pipeline> {
  const { rows } = await db.query<Pipeline>(sql`
    insert into flux.pipelines (
      agency_id,
      name,
      version,
      title,
      content_type,
      use_case,
      classification,
      contract_name,
      contract_version,
      connection_name,
      definition,
      sha256,
      created_by
    )
    select
      flux.current_agency(),
      ${pipeline.name},
      coalesce(max(version), 0) + 1,
      ${pipeline.title},
      ${pipeline.contentType},
      ${pipeline.useCase},
      ${pipeline.classification}::smallint,
      ${pipeline.contractName},
      ${pipeline.contractVersion}::int,
      ${pipeline.connectionName},
      ${pipeline.definition},
      ${pipeline.sha256}::bytea,
      ${pipeline.createdBy}
    from flux.pipelines
    where agency_id = (select flux.current_agency())
      and name = ${pipeline.name}
    returning ${pipelineColumns}
  `);
  return rows[0] as Pipeline;
}
