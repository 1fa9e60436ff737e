import type { DuckDbSession } from './duckdb/session.ts';
import { ident } from './duckdb/sql-text.ts';
import { detectPersonalData } from '../personal-data/detect.ts';
import { nameFinder } from '../personal-data/names.ts';
import type { PreparedBatch } from './protocol.ts';
import type { ContractFinding, DryRunSample, PersonalDataColumn } from './staged-types.ts';

/** An answer for people, no report: the quarantine of a run has all of them. */
const findingCountMax = 50;
/** Values of one column that are looked at. */
const valuesPerColumn = 10_000;

/**
 * What a prepared batch, which still stands in `_flux_batch`, shows of its source.
 *
 * @param table where the records of several batches stand
 */
export async function sampleOf(
  session: DuckDbSession,
  batch: PreparedBatch,
  columns: readonly string[],
  table = '_flux_batch',
): Promise<DryRunSample> {
  return {
    recordsRead: batch.recordsRead,
    recordsGood: batch.goodCount,
    recordsRejected: batch.rejected.length,
    recordsFiltered: batch.steps.reduce((sum, { recordsFiltered }) => sum + recordsFiltered, 0),
    findings: findingsOf(batch),
    personalData: await personalDataOf(session, columns, table),
  };
}

function findingsOf({ rejected }: PreparedBatch): ContractFinding[] {
  const findings = new Map<string, ContractFinding>();
  for (const { recordNo, reasons } of rejected) {
    for (const { path, rule, message } of reasons) {
      const key = `${path} ${rule}`;
      const seen = findings.get(key) ?? { path, rule, count: 0, example: message, recordNo };
      findings.set(key, { ...seen, count: seen.count + 1 });
    }
  }
  return [...findings.values()].sort((a, b) => b.count - a.count).slice(0, findingCountMax);
}

async function personalDataOf(
  session: DuckDbSession,
  columns: readonly string[],
  table: string,
): Promise<PersonalDataColumn[]> {
  const found: PersonalDataColumn[] = [];
  const findNames = await nameFinder();
  for (const column of columns) {
    const rows = await session.rows(`
      select ${ident(column)}::varchar
      from ${table}
      where _flux_state = 0 and ${ident(column)} is not null
      limit ${valuesPerColumn}`);
    const values = rows.map(([value]) => String(value));
    found.push(...detectPersonalData(column, values, findNames).map((finding) => ({ column, ...finding })));
  }
  return found;
}
