import { compileContract, type Contract } from '../../src/contracts/contract.ts';
import { DuckDbSession } from '../../src/etl/duckdb/session.ts';
import { compileValidation } from '../../src/etl/ingest/batch-sql.ts';
import { parquetColumns } from '../../src/etl/ingest/columns.ts';
import { type ContractModel, type Fallback, modelContract } from '../../src/etl/ingest/contract-model.ts';
import { assembleRecord } from '../../src/etl/ingest/record-shape.ts';
import { cell } from '../../src/etl/ingest/lexical.ts';
import { RuleModes } from '../../src/etl/ingest/rule-modes.ts';
import { literal } from '../../src/etl/duckdb/sql-text.ts';

/** What the SQL of a contract says of one value, and what is said with Ajv's help. */
export interface SqlVerdict {
  /** SQL alone refuses it. */
  refusedBySql: boolean;
  /** SQL refuses it, or lets it pass to Ajv, which does. */
  refused: boolean;
  fallbacks: readonly Fallback[];
}

/** The type of a typed file's column that holds the value; null where only a JSON record can. */
export function columnTypeOf(value: unknown): string | null {
  if (typeof value === 'boolean') return 'BOOLEAN';
  if (typeof value === 'string') return value.includes('\0') || !value.isWellFormed() ? null : 'VARCHAR';
  if (typeof value !== 'number') return null;
  return Number.isSafeInteger(value) ? 'BIGINT' : 'DOUBLE';
}

export const wrapped = (schema: unknown, required = true): Record<string, unknown> => ({
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Verdict',
  type: 'object',
  properties: { value: schema },
  ...(required ? { required: ['value'] } : {}),
});

/** Judges values of one column by the contract's SQL, as a typed file's would be. */
export class SqlJudge {
  readonly #session: DuckDbSession;

  private constructor(session: DuckDbSession) {
    this.#session = session;
  }

  static async open(): Promise<SqlJudge> {
    return new SqlJudge(await DuckDbSession.open({ memoryMegabytes: 128, paths: [], folders: [] }));
  }

  /** @returns null where the contract makes no single column of the property `value` */
  async judge(contract: Contract, type: string, values: readonly unknown[]): Promise<SqlVerdict[] | null> {
    const model: ContractModel = modelContract(contract);
    if (model.fields.length !== 1 || model.fields[0]?.path.join() !== 'value') return null;
    const made = columnsOrMisfit(model, type);
    // A column of another type than the contract's is refused as a whole.
    if (made === null) return values.map(() => ({ refusedBySql: true, refused: true, fallbacks: [] }));
    const { columns, fallbacks = [], checkRecords } = made;
    const rows = values.map((value, at) => `(${at}::bigint, ${sqlValue(value)}::${type})`).join(', ');
    const validation = compileValidation(made, { rawJson: false, modes: new RuleModes(null) });
    const checked = await this.#session.rows(`
      select _flux_record, _flux_state, _flux_json
      from (${validation.validatedWithJson(`select * from (values ${rows}) t (_flux_record, ${cell(0)})`)})
      order by _flux_record`);
    const check = compileContract(contract);
    return checked.map(([, state, json]) => {
      const refusedBySql = state !== 0;
      const refused =
        refusedBySql ||
        (checkRecords && check(assembleRecord(columns, JSON.parse(String(json)) as unknown[])).length > 0);
      return { refusedBySql, refused, fallbacks };
    });
  }

  close(): void {
    this.#session.close();
  }
}

function columnsOrMisfit(model: ContractModel, type: string): ReturnType<typeof parquetColumns> | null {
  try {
    return parquetColumns(model, [{ name: 'value', type }]);
  } catch (cause) {
    if ((cause as { code?: string }).code === 'SOURCE_INVALID') return null;
    throw cause;
  }
}

function sqlValue(value: unknown): string {
  return typeof value === 'string' ? literal(value) : JSON.stringify(value);
}
