import type { DuckDbSession } from './duckdb/session.ts';
import { ident } from './duckdb/sql-text.ts';
import { detectPersonalData } from '../personal-data/detect.ts';
import { nameFinder } from '../personal-data/names.ts';
import type { PreparedBatch } from './protocol.ts';
import type { ContractFinding, DryRunSample, PersonalDataColumn } from './staged-types.ts';
import type { Sampled } from './take-sample.ts';

/** An answer for people, no report: the quarantine of a run has all of them. */
const findingCountMax = 50;
/** Values of one column that are looked at. */
const valuesPerColumn = 10_000;

/** The rules that records of a sample broke. */
export class Findings {
  readonly #found = new Map<string, ContractFinding>();

  add(rejected: PreparedBatch['rejected']): void {
    for (const { recordNo, reasons } of rejected) {
      for (const { path, rule, message } of reasons) {
        const key = `${path} ${rule}`;
        const seen = this.#found.get(key) ?? { path, rule, count: 0, example: message, recordNo };
        this.#found.set(key, { ...seen, count: seen.count + 1 });
      }
    }
  }

  /** The commonest first. */
  get list(): ContractFinding[] {
    return [...this.#found.values()].sort((a, b) => b.count - a.count).slice(0, findingCountMax);
  }
}

/** What a sample, whose good records still stand in `_flux_batch`, shows of its source. */
export async function sampleOf(
  session: DuckDbSession,
  { batch, findings, looked }: Sampled,
  columns: readonly { name: string }[],
): Promise<DryRunSample> {
  const sum = (of: 'recordsRejected' | 'recordsFiltered'): number =>
    batch.steps.reduce((total, step) => total + step[of], 0);
  return {
    recordsRead: batch.recordsRead,
    recordsGood: batch.goodCount,
    recordsRejected: sum('recordsRejected'),
    recordsFiltered: sum('recordsFiltered'),
    ...looked,
    findings: findings.list,
    personalData: await personalDataOf(
      session,
      columns.map(({ name }) => name),
    ),
  };
}

async function personalDataOf(session: DuckDbSession, columns: readonly string[]): Promise<PersonalDataColumn[]> {
  const found: PersonalDataColumn[] = [];
  const findNames = await nameFinder();
  for (const column of columns) {
    const rows = await session.rows(`
      select ${ident(column)}::varchar
      from _flux_batch
      where _flux_state = 0 and ${ident(column)} is not null
      order by _flux_record
      limit ${valuesPerColumn}`);
    const values = rows.map(([value]) => String(value));
    found.push(...detectPersonalData(column, values, findNames).map((finding) => ({ column, ...finding })));
  }
  return found;
}
