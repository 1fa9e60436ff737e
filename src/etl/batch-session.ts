import { join } from 'node:path';
import { compileContract, type Contract, type RecordCheck } from '../contracts/contract.ts';
import { FluxError } from '../errors.ts';
import { maskText } from '../personal-data/mask.ts';
import { DuckDbSession } from './duckdb/session.ts';
import { ident, literal } from './duckdb/sql-text.ts';
import type { RejectedRecord, StepDeclaration } from './engine-types.ts';
import { compileValidation, type ValidationSql } from './ingest/batch-sql.ts';
import { DroppedCounts, mendRecord, RuleModes } from './ingest/rule-modes.ts';
import { modelContract } from './ingest/contract-model.ts';
import { reasonCountMax } from './ingest/limits.ts';
import { openReader } from './ingest/open-reader.ts';
import { rejectedMask } from './ingest/mask-rejected.ts';
import { PartsReader } from './ingest/parts-reader.ts';
import { showRaw } from './ingest/raw-text.ts';
import type { Chunk, SourceReader } from './ingest/reader.ts';
import { assembleRecord } from './ingest/record-shape.ts';
import { WantedReader } from './ingest/wanted-reader.ts';
import type { ChildJob, OutputShape, PreparedBatch, Range, SourceSurvey } from './protocol.ts';
import { shapeOf, transformsOf, writesParts, type Written } from './output-shape.ts';
import { sampleOf } from './sample.ts';
import type { DryRunSample } from './staged-types.ts';
import { countSteps } from './step-counts.ts';
import { cutRanges } from './ranges.ts';
import { readCursor } from './read-cursor.ts';
import { ExpressionRules } from './transform/expression.ts';
import { functionsOf } from './transform/own-functions.ts';
import { compileTransforms, type TransformChain } from './transform/transforms.ts';

const recordsPerBatchDefault = 100_000;

/**
 * One source, one contract, one chain of transforms, in one DuckDB: the whole of what a child process does. States: opened,
 * then either surveyed, or started and asked for batches until the last.
 */
export class BatchSession {
  readonly #job: ChildJob;
  readonly #session: DuckDbSession;
  readonly #reader: SourceReader;
  readonly #validation: ValidationSql;
  readonly #chain: TransformChain;
  readonly #output: readonly Written[];
  readonly #shape: Omit<OutputShape, 'steps'>;
  readonly #checkRecord: RecordCheck | null;
  readonly #modes: RuleModes;
  readonly #dropped = new DroppedCounts();
  #batchNo = 0;
  #closed = false;

  private constructor(
    job: ChildJob,
    made: {
      session: DuckDbSession;
      reader: SourceReader;
      validation: ValidationSql;
      chain: TransformChain;
      output: readonly Written[];
      shape: Omit<OutputShape, 'steps'>;
      checkRecord: RecordCheck | null;
    },
  ) {
    this.#job = job;
    this.#session = made.session;
    this.#reader = made.reader;
    this.#validation = made.validation;
    this.#chain = made.chain;
    this.#output = made.output;
    this.#shape = made.shape;
    this.#checkRecord = made.checkRecord;
    this.#modes = new RuleModes(job.definition.contract);
  }

  /** @throws SOURCE_INVALID, CONTRACT_INVALID, INVALID_INPUT as the parts do */
  static async open(job: ChildJob): Promise<BatchSession> {
    const session = await DuckDbSession.open({
      memoryMegabytes: job.memoryMegabytes,
      paths: (job.staged?.parts.map(({ path }) => path) ?? [job.objectPath]).filter((path) => path !== ''),
      folders: [job.workFolder],
      functions: functionsOf(job),
    });
    const contract = readContract(job.contract);
    const reader = await readerOf(session, job, contract);
    const { columns, checkRecords } = reader.columns;
    const modes = new RuleModes(job.definition.contract);
    const validation = compileValidation(reader.columns, { rawJson: reader.rawJson, modes });
    const sample = validation.validated(reader.sample);
    const rules = await ExpressionRules.load(session);
    const chain = await compileTransforms({ session, rules }, transformsOf(job), { columns, sample });
    const described = await session.describe(
      `select ${chain.columns.map(({ name }) => ident(name)).join(', ')} from (${chain.wrap(sample)})`,
    );
    const { output, shape } = shapeOf(job, chain, described);
    return new BatchSession(job, {
      session,
      reader,
      validation,
      chain,
      output,
      shape,
      checkRecord: checkRecords ? (contract?.check ?? null) : null,
    });
  }

  get #steps(): StepDeclaration[] {
    const { stage = 'FULL', staged } = this.#job;
    const read: StepDeclaration[] = !staged
      ? [
          { stage: 'INGEST', step: 'read', kind: 'read' },
          { stage: 'INGEST', step: 'validate', kind: 'validate' },
        ]
      : [{ stage: stage === 'FULL' ? 'TRANSFORM' : stage, step: 'read_parts', kind: 'read' }];
    const write: StepDeclaration = writesParts(this.#job)
      ? { stage: stage === 'INGEST' ? stage : 'TRANSFORM', step: 'write_parts', kind: 'write' }
      : { stage: 'EXPORT', step: 'write', kind: 'write' };
    return [...read, ...this.#chain.steps, write];
  }

  get #recordsPerBatch(): number {
    return this.#job.definition.batch?.records ?? recordsPerBatchDefault;
  }

  describe(): OutputShape {
    return { ...this.#shape, steps: this.#steps };
  }

  async survey(): Promise<SourceSurvey> {
    const { recordsTotal, marks } = await this.#reader.survey(this.#recordsPerBatch);
    return {
      recordsTotal,
      ...this.describe(),
      ranges: cutRanges(marks, recordsTotal),
    };
  }

  async start(range: Range, cursor: string | null): Promise<void> {
    const from = cursor === null ? range.from : readCursor(cursor, range.from);
    if (this.#reader instanceof WantedReader) {
      this.#reader.choose(range.clusters ?? []);
      return this.#reader.start({ from, records: range.records });
    }
    const passed = (from['record'] ?? from['row'] ?? 0) - range.record;
    if (passed < 0 || passed > range.records) {
      throw new FluxError(
        'CHECKPOINT_INCOMPATIBLE',
        `The cursor ${JSON.stringify(from)} lies outside its partition. Start a new run.`,
      );
    }
    await this.#reader.start({ from, records: range.records - passed });
  }

  /** Prepares the next batch. The file of the batch before stays until the parent removes it. */
  async next(records = this.#recordsPerBatch): Promise<PreparedBatch> {
    this.#batchNo += 1;
    const chunk = await this.#reader.next(records);
    const extension = writesParts(this.#job) ? 'parquet' : 'csv';
    const goodFile = join(this.#job.workFolder, `good-${this.#batchNo}.${extension}`);
    try {
      const refusedByAjv = await this.#materialise(chunk);
      await this.#countDropped(chunk);
      const verdicts = await this.#session.rows('select _flux_state, count(*)::bigint from _flux_batch group by all');
      const states = new Map(verdicts.map(([state, count]) => [Number(state), Number(count)]));
      this.#checkCount(chunk, states);
      await this.#refuseFailedCasts(states);
      const rejectedBySql = (states.get(1) ?? 0) > refusedByAjv.length ? await this.#rejectedBySql(chunk) : [];
      await this.#writeGood(goodFile);
      const rejected = [...chunk.unreadable, ...chunk.refused, ...rejectedBySql, ...refusedByAjv];
      const frozen = this.#firstFrozen(rejected);
      return {
        cursor: JSON.stringify(chunk.next),
        last: chunk.last || chunk.recordsRead === 0,
        recordsRead: chunk.recordsRead,
        bytesRead: chunk.bytesRead,
        goodFile,
        goodCount: states.get(0) ?? 0,
        rejected: rejected
          .map(rejectedMask(this.#job.definition, this.#reader))
          .sort((one, other) => one.recordNo - other.recordNo),
        dropped: this.#dropped.take(),
        frozen,
        steps: countSteps(this.#steps, chunk, states),
        firstRecord: chunk.firstRecord,
        lastRecord: chunk.lastRecord,
      };
    } catch (cause) {
      throw this.#nameFailure(cause);
    }
  }

  /** The first records of a range, and what they show. */
  async sample(range: Range, records: number): Promise<DryRunSample> {
    await this.start(range, null);
    const batch = await this.next(Math.min(records, this.#recordsPerBatch));
    return sampleOf(
      this.#session,
      batch,
      this.#output.map(({ name }) => name),
    );
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#reader.close();
    this.#session.close();
  }

  /** One scan of the source into typed rows with a state. @returns what Ajv refused of what SQL let pass */
  async #materialise(chunk: Chunk): Promise<RejectedRecord[]> {
    if (this.#checkRecord === null) {
      await this.#createBatch(this.#validation.validated(chunk.relation));
      return [];
    }
    await this.#session.run(
      `create or replace temp table _flux_checked as ${this.#validation.validatedWithJson(chunk.relation)}`,
    );
    const leftOut = new Map<string, number[]>();
    const refused = await this.#checkRecords(chunk, this.#checkRecord, leftOut);
    const among = (records: readonly number[]): string =>
      `_flux_record in (select unnest([${records.join(', ')}]::bigint[]))`;
    const state =
      refused.length === 0
        ? '_flux_state'
        : `case when ${among(refused.map(({ recordNo }) => recordNo))} then 1 else _flux_state end`;
    const without = [...leftOut].map(
      ([name, records]) => `, case when ${among(records)} then null else ${ident(name)} end as ${ident(name)}`,
    );
    await this.#createBatch(
      `select * exclude (_flux_json) replace (${state}::integer as _flux_state${without.join('')}) from _flux_checked`,
    );
    await this.#session.run('drop table _flux_checked');
    return refused;
  }

  async #createBatch(records: string): Promise<void> {
    const values = this.#output.map(({ name, expression }) => `${expression} as ${ident(name)}`).join(', ');
    await this.#session.run(`
      create or replace temp table _flux_batch as
      select _flux_record, _flux_state, _flux_broken, _flux_found, _flux_raw, ${values}
      from (${this.#chain.wrap(records)})`);
  }

  /** @param leftOut gets the columns whose values are left out, with the records' numbers */
  async #checkRecords(chunk: Chunk, check: RecordCheck, leftOut: Map<string, number[]>): Promise<RejectedRecord[]> {
    const { columns } = this.#reader.columns;
    const fields = columns.flatMap(({ field }) => field ?? []);
    const refused: RejectedRecord[] = [];
    // In slices, since the texts of 100,000 records at once would be most of this process's memory.
    const slice = 10_000;
    const [bounds] = await this.#session.rows(
      'select min(_flux_record), max(_flux_record) from _flux_checked where _flux_state = 0',
    );
    const [lowest, highest] = (bounds ?? []).map(Number) as [number, number];
    for (let from = lowest; from <= highest; from += slice) {
      const rows = await this.#session.rows(`
        select _flux_record, _flux_json
        from _flux_checked
        where _flux_state = 0 and _flux_record >= ${from} and _flux_record < ${from + slice}`);
      for (const [recordNo, json] of rows) {
        const record = assembleRecord(columns, JSON.parse(String(json)) as unknown[]);
        const reasons = check(record);
        if (reasons.length === 0) continue;
        const mended = mendRecord(record, reasons, { modes: this.#modes, fields, check });
        if (mended !== null) {
          for (const rule of mended.rules) this.#dropped.add(rule);
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

  async #countDropped(chunk: Chunk): Promise<void> {
    for (const { path, rule, count } of chunk.dropped ?? []) this.#dropped.add({ path, rule }, count);
    const { dropped } = this.#validation;
    if (dropped === null || chunk.rowCount === 0) return;
    const [counts = []] = await this.#session.rows(dropped.counts(chunk.relation));
    for (const [at, rule] of dropped.rules.entries()) this.#dropped.add(rule, Number(counts[at]));
  }

  #firstFrozen(rejected: readonly RejectedRecord[]): PreparedBatch['frozen'] {
    const found = rejected.flatMap(({ recordNo, reasons }) => {
      const reason = reasons.find((each) => this.#modes.freezes(each));
      return reason ? [{ recordNo, path: maskText(reason.path), rule: reason.rule }] : [];
    });
    return found.sort((one, other) => one.recordNo - other.recordNo)[0] ?? null;
  }

  async #rejectedBySql(chunk: Chunk): Promise<RejectedRecord[]> {
    const rows = await this.#session.rows(`
      select _flux_record, _flux_broken, _flux_found, _flux_raw
      from _flux_batch
      where _flux_state = 1 and _flux_broken is not null`);
    return rows.map(([record, broken, found, raw]) => {
      const recordNo = Number(record);
      const place = chunk.rawOf(recordNo);
      return {
        recordNo,
        byteOffset: place.byteOffset,
        reasons: this.#validation.reasons(broken as boolean[], found as (string | null)[]),
        raw: place.raw ?? (typeof raw === 'string' ? showRaw(raw) : null),
      };
    });
  }

  async #writeGood(path: string): Promise<void> {
    const columns = ['_flux_record', ...this.#output.map(({ name }) => ident(name))].join(', ');
    const [order, format] = writesParts(this.#job)
      ? [' order by _flux_record', 'format parquet, compression zstd']
      : ['', `format csv, header false, delimiter ',', quote '"', escape '"', nullstr ''`];
    await this.#session.run(`
      copy (select ${columns} from _flux_batch where _flux_state = 0${order}) to ${literal(path)} (${format})`);
  }

  /** The splitter and DuckDB are two readers of the same bytes; where they disagree, neither is to be believed. */
  #checkCount(chunk: Chunk, states: ReadonlyMap<number, number>): void {
    const rows = [...states.values()].reduce((sum, count) => sum + count, 0);
    if (rows !== chunk.rowCount) {
      throw new FluxError(
        'SOURCE_INVALID',
        `Two readers disagree about records ${chunk.firstRecord} to ${chunk.lastRecord}: ${chunk.rowCount} and ${rows}. ` +
          'Nothing of this batch was loaded; report the source to the maintainers.',
      );
    }
  }

  async #refuseFailedCasts(states: ReadonlyMap<number, number>): Promise<void> {
    const failed = [...states.keys()].find((state) => state < 0);
    if (failed === undefined) return;
    const [row] = await this.#session.rows(`
      select _flux_record, _flux_found[1]
      from _flux_batch
      where _flux_state = ${failed}
      order by _flux_record
      limit 1`);
    const step = this.#chain.steps[-failed - 2]?.step ?? 'a cast';
    throw new FluxError(
      'TRANSFORM_FAILED',
      `Transform "${step}" cannot read ${JSON.stringify(row?.[1] ?? null)} of record ${String(row?.[0])} as its type. ` +
        'Let the contract refuse such values, or derive the column.',
      { details: { recordNo: Number(row?.[0]) } },
    );
  }

  #nameFailure(cause: unknown): unknown {
    if (cause instanceof FluxError) return cause;
    const text = cause instanceof Error ? cause.message : String(cause);
    const [line = ''] = text.split('\n');
    const isParquet = this.#job.definition.source.format.type === 'parquet';
    if (isParquet && /parquet|snappy|zstd|corrupt|decompress|TProtocol|IO Error/i.test(text)) {
      return new FluxError('SOURCE_INVALID', `The Parquet file is damaged (${line}). Correct the source.`, { cause });
    }
    if (this.#chain.steps.length > 0) {
      return new FluxError('TRANSFORM_FAILED', `The transforms failed on the records: ${line}. Correct the pipeline.`, {
        cause,
      });
    }
    return new FluxError('INTERNAL', `Preparing a batch failed: ${line}.`, { cause });
  }
}

async function readerOf(
  session: DuckDbSession,
  job: ChildJob,
  contract: ReturnType<typeof readContract>,
): Promise<SourceReader> {
  const { staged } = job;
  if (staged) return new PartsReader(session, staged.columns, staged.parts, staged.byteCount);
  const reader = await openReader(session, job, contract);
  return job.wanted ? new WantedReader(reader) : reader;
}

function readContract(document: ChildJob['contract']) {
  if (document === null || typeof document === 'boolean') return null;
  // The worker hands over what `validateContract` accepted at registration.
  const contract = document as unknown as Contract;
  return { model: modelContract(contract), check: compileContract(contract) };
}
