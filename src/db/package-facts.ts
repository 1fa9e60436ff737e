/** What a package of a dataset tells of it, under the caller's tenant context: what the caller may not see is not there. */
import type { DatasetColumn } from './loads.ts';
import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

export interface PackageLoadRow {
  loadNo: bigint;
  mode: string;
  publishedAt: Date;
  written: bigint;
  replaced: bigint;
  runId: string;
  pipeline: string;
  pipelineVersion: number;
  useCase: string;
  classification: number;
  source: { connection: string; sha256: string } | null;
}

/** The dataset and the database that holds it; null where there is none that the caller may see. */
export async function findPackagedDataset(
  tx: Queryable,
  name: string,
): Promise<{ columns: DatasetColumn[]; createdAt: Date; database: string } | null> {
  const { rows } = await tx.query<{ columns: DatasetColumn[]; createdAt: Date; database: string }>(sql`
    select d.columns, d.created_at as "createdAt", current_database() as database
    from flux.datasets d
    where d.agency_id = (select flux.current_agency())
      and d.name = ${name}
      and exists (select from flux.loads l where l.agency_id = d.agency_id and l.dataset = d.name)
  `);
  return rows[0] ?? null;
}

/** The published loads, in their order. */
export async function listPackageLoads(tx: Queryable, dataset: string): Promise<PackageLoadRow[]> {
  const { rows } = await tx.query<PackageLoadRow>(sql`
    select
      l.load_no as "loadNo",
      l.mode,
      l.published_at as "publishedAt",
      l.record_count as written,
      l.replaced_count as replaced,
      l.run_id as "runId",
      r.pipeline_name as pipeline,
      r.pipeline_version as "pipelineVersion",
      r.use_case as "useCase",
      r.classification,
      (
        select json_build_object('connection', s.connection_name, 'sha256', encode(s.sha256, 'hex'))
        from flux.source_objects s
        where s.agency_id = l.agency_id and s.run_id = l.run_id
        order by s.object_id
        limit 1
      ) as source
    from flux.loads l
    join flux.runs r on r.agency_id = l.agency_id and r.run_id = l.run_id
    where l.agency_id = (select flux.current_agency())
      and l.dataset = ${dataset}
      and l.status = 'PUBLISHED'
    order by l.load_no
  `);
  return rows;
}

/** The versions of pipelines whose runs have published loads of a dataset. */
export async function listPackagePipelines(
  tx: Queryable,
  dataset: string,
): Promise<{ name: string; version: number; title: string; definition: string }[]> {
  const { rows } = await tx.query<{ name: string; version: number; title: string; definition: string }>(sql`
    select p.name, p.version, p.title, p.definition
    from flux.pipelines p
    where p.agency_id = (select flux.current_agency())
      and exists (
        select
        from flux.runs r
        join flux.loads l on l.agency_id = r.agency_id and l.run_id = r.run_id
        where r.agency_id = p.agency_id
          and r.pipeline_name = p.name
          and r.pipeline_version = p.version
          and l.dataset = ${dataset}
          and l.status = 'PUBLISHED'
      )
    order by p.name, p.version
  `);
  return rows;
}

/** The contract that a version of a pipeline holds its records to; null where it names none. */
export async function findPackageContract(
  tx: Queryable,
  { pipeline, version }: { pipeline: string; version: number },
): Promise<string | null> {
  const { rows } = await tx.query<{ document: string }>(sql`
    select c.document
    from flux.pipelines p
    join flux.contracts c on c.agency_id = p.agency_id and c.name = p.contract_name and c.version = p.contract_version
    where p.agency_id = (select flux.current_agency())
      and p.name = ${pipeline}
      and p.version = ${version}
  `);
  return rows[0]?.document ?? null;
}

/** Lets a session of another login of this database see the moment that this transaction sees, while this one is open. */
export async function exportSnapshot(tx: Queryable): Promise<string> {
  const { rows } = await tx.query<{ snapshot: string }>(sql`select pg_export_snapshot() as snapshot`);
  return rows[0]?.snapshot ?? '';
}

/** Whether somebody waits for a lock that a session holds. */
export async function isInTheWay(db: Queryable, backendPid: number): Promise<boolean> {
  const { rows } = await db.query<{ waits: boolean }>(sql`
    select exists (
      select
      from pg_locks w
      where not w.granted
        and w.pid <> ${backendPid}::int
        and ${backendPid}::int = any (pg_blocking_pids(w.pid))
    ) as waits
  `);
  return rows[0]?.waits ?? false;
}
