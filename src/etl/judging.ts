import type { DuckDbSession } from './duckdb/session.ts';
import { ident } from './duckdb/sql-text.ts';
import { compileValidation, type ValidationSql } from './ingest/batch-sql.ts';
import { type PassedOver, passedOver } from './ingest/passed-over.ts';
import type { SourceReader } from './ingest/reader.ts';
import type { RuleModes } from './ingest/rule-modes.ts';
import type { ChildJob } from './protocol.ts';

/** How a job's records are judged, and which of them are not, because an earlier run has read them. @throws INVALID_INPUT as `passedOver` */
export async function judgingOf(
  session: DuckDbSession,
  { since }: Pick<ChildJob, 'since'>,
  { reader, modes }: { reader: SourceReader; modes: RuleModes },
): Promise<{ validation: ValidationSql; since: PassedOver | null }> {
  const { rawJson } = reader;
  const validation = compileValidation(reader.columns, { rawJson, modes });
  if (!since) return { validation, since: null };
  const over = await passedOver(session, since, reader.columns.columns, async (name) => {
    const [found] = await session.describe(`select ${ident(name)} from (${validation.validated(reader.sample)})`);
    return found?.type ?? 'varchar';
  });
  return { validation: compileValidation(reader.columns, { rawJson, modes, passed: over.condition }), since: over };
}
