import { compileContract, type Contract, type RecordCheck } from '../contracts/contract.ts';
import type { DuckDbSession } from './duckdb/session.ts';
import { modelContract } from './ingest/contract-model.ts';
import type { ReadContract } from './ingest/judged-reader.ts';
import { openReader } from './ingest/open-reader.ts';
import { PartsReader } from './ingest/parts-reader.ts';
import type { SourceReader } from './ingest/reader.ts';
import { WantedReader } from './ingest/wanted-reader.ts';
import type { ChildJob } from './protocol.ts';

/** What a job reads: parts of an earlier stage, its source, or chosen records of it. */
export async function openJobReader(
  session: DuckDbSession,
  job: ChildJob,
  contract: ReadContract | null,
): Promise<SourceReader> {
  const { staged } = job;
  if (staged) return new PartsReader(session, staged.columns, staged.parts, staged.byteCount);
  const reader = await openReader(session, job, contract);
  return job.wanted ? new WantedReader(reader) : reader;
}

/** What DuckDB itself may read. Where an object that grows is found there will be another file later, which is nobody's to read. */
export function pathsOf({ staged, growing = false, objectPath }: ChildJob): string[] {
  const paths = staged?.parts.map(({ path }) => path) ?? (growing ? [] : [objectPath]);
  return paths.filter((path) => path !== '');
}

/** null: every record will do. */
export function readContract(document: ChildJob['contract']): ReadContract | null {
  if (document === null || typeof document === 'boolean') return null;
  // The worker hands over what `validateContract` accepted at registration.
  const contract = document as unknown as Contract;
  let compiled: RecordCheck | null = null;
  return {
    model: modelContract(contract),
    // To compile it takes as long as to read a third of a batch, and most jobs leave no record to it.
    check: (record) => (compiled ??= compileContract(contract))(record),
  };
}
