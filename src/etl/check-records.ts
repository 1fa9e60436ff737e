import type { RecordCheck } from '../contracts/contract.ts';
import type { DuckDbSession } from './duckdb/session.ts';
import type { RejectedRecord } from './engine-types.ts';
import type { RecordColumn } from './ingest/columns.ts';
import { reasonCountMax } from './ingest/limits.ts';
import { showRaw } from './ingest/raw-text.ts';
import type { Chunk } from './ingest/reader.ts';
import { assembleRecord } from './ingest/record-shape.ts';
import { type DroppedCounts, mendRecord, type RuleModes } from './ingest/rule-modes.ts';

/** Records at a time, since the texts of 100,000 at once would be most of this process's memory. */
const slice = 10_000;

/**
 * Puts what SQL let pass, which stands in `_flux_checked`, through Ajv.
 *
 * @param leftOut gets the columns whose values are left out, with the records' numbers
 * @returns what Ajv refused
 */
export async function checkRecords(
  session: DuckDbSession,
  chunk: Chunk,
  rules: { columns: readonly RecordColumn[]; check: RecordCheck; modes: RuleModes; dropped: DroppedCounts },
  leftOut: Map<string, number[]>,
): Promise<RejectedRecord[]> {
  const { columns, check, modes, dropped } = rules;
  const fields = columns.flatMap(({ field }) => field ?? []);
  const refused: RejectedRecord[] = [];
  const [bounds] = await session.rows(
    'select min(_flux_record), max(_flux_record) from _flux_checked where _flux_state = 0',
  );
  const [lowest, highest] = (bounds ?? []).map(Number) as [number, number];
  for (let from = lowest; from <= highest; from += slice) {
    const rows = await session.rows(`
      select _flux_record, _flux_json
      from _flux_checked
      where _flux_state = 0 and _flux_record >= ${from} and _flux_record < ${from + slice}`);
    for (const [recordNo, json] of rows) {
      const record = assembleRecord(columns, JSON.parse(String(json)) as unknown[]);
      const reasons = check(record);
      if (reasons.length === 0) continue;
      const mended = mendRecord(record, reasons, { modes, fields, check });
      if (mended !== null) {
        for (const rule of mended.rules) dropped.add(rule);
        for (const { name } of columns.filter(({ field }) => field && mended.pointers.includes(field.pointer)))
          leftOut.set(name, [...(leftOut.get(name) ?? []), Number(recordNo)]);
        continue;
      }
      const place = chunk.rawOf(Number(recordNo));
      const raw = place.raw ?? showRaw(JSON.stringify(record));
      refused.push({
        recordNo: Number(recordNo),
        byteOffset: place.byteOffset,
        reasons: reasons.slice(0, reasonCountMax),
        raw,
      });
    }
  }
  return refused;
}
