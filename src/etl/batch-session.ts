import { join } from 'node:path';
import type { RecordCheck } from '../contracts/contract.ts';
import { requireAgreement } from './agreeing-counts.ts';
import { firstBatchRecords, recordsPerBatch } from './batch-size.ts';
import { checkRecords } from './check-records.ts';
import { DirectWrite, type RefusedRow } from './direct-write.ts';
import { DuckDbSession } from './duckdb/session.ts';
import { ident } from './duckdb/sql-text.ts';
import type { RejectedRecord, StepDeclaration } from './engine-types.ts';
import { CopyRows } from './sure/copy-rows.ts';
import type { EvolvedField } from './evolved-contract.ts';
import { copyGood, goodCells, goodFilePath, goodFileTarget } from './good-file.ts';
import type { ValidationSql } from './ingest/batch-sql.ts';
import { judgingOf } from './judging.ts';
import { DroppedCounts, RuleModes } from './ingest/rule-modes.ts';
import { rejectedMask } from './ingest/mask-rejected.ts';
import { newestOf, type PassedOver } from './ingest/passed-over.ts';
import { showRaw } from './ingest/raw-text.ts';
import type { Chunk, SourceReader } from './ingest/reader.ts';
import { WantedReader } from './ingest/wanted-reader.ts';
import type { ChildJob, OutputShape, PreparedBatch, Range, SourceSurvey } from './protocol.ts';
import { nameFailure } from './name-failure.ts';
import { shapeOf, transformsOf, writesParts, type Written } from './output-shape.ts';
import { sampleOf } from './sample.ts';
import { type Sampled, takeSample } from './take-sample.ts';
import type { Surveyed } from './ingest/spread.ts';
import type { DryRunSample } from './staged-types.ts';
import { countSteps, declaredSteps } from './step-counts.ts';
import { cutRanges } from './ranges.ts';
import { openJobReader, pathsOf, readContract } from './job-reader.ts';
import { readCursor, recordsLeft } from './read-cursor.ts';
import { refuseFailedCasts } from './failed-casts.ts';
import { ExpressionRules } from './transform/expression.ts';
import { functionsOf } from './transform/own-functions.ts';
import { compileTransforms, type TransformChain } from './transform/transforms.ts';

const namesOf = ({ columns }: SourceReader): string[] => columns.columns.map(({ name }) => name);

/** A batch whose good records stand in their file. */
interface Prepared {
  /** Rows by `_flux_state`. */
  states: ReadonlyMap<number, number>;
  /** By SQL, and by Ajv after it. */
  refused: RejectedRecord[];
}

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
  readonly #since: PassedOver | null;
  readonly #dropped = new DroppedCounts();
  /** null: something has to see the records between the verdict and the file. */
  readonly #direct: DirectWrite | null;
  #batchNo = 0;
  #isFirstOfRun = false;
  readonly #rows: CopyRows;
  #sampling = false;
  /** That rows may be taken as they are written; a sample looks at what was read of all of them, so it takes none. */
  readonly #maySure: boolean;
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
      since: PassedOver | null;
      direct: DirectWrite;
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
    const others = made.chain.steps.some(({ kind }) => kind !== 'row');
    this.#since = made.since;
    const seen =
      made.checkRecord !== null ||
      made.since !== null ||
      made.validation.dropped !== null ||
      others ||
      writesParts(job);
    this.#direct = seen ? null : made.direct;
    // What is read is what is written, column by column.
    const same =
      made.chain.steps.length === 0 &&
      made.output.map(({ name }) => name).join('\0') === namesOf(made.reader).join('\0');
    this.#maySure = this.#direct !== null && same;
    this.#rows = new CopyRows(() => join(job.workFolder, `good-${this.#batchNo + 1}.rows`));
  }

  /** @throws SOURCE_INVALID, CONTRACT_INVALID, INVALID_INPUT as the parts do */
  static async open(job: ChildJob): Promise<BatchSession> {
    const direct = new DirectWrite();
    const session = await DuckDbSession.open({
      memoryMegabytes: job.memoryMegabytes,
      paths: pathsOf(job),
      folders: [job.workFolder],
      ...(job.references?.length ? { spillFolder: join(job.workFolder, 'spill-rows') } : {}),
      functions: [...functionsOf(job), direct.function],
    });
    const contract = readContract(job.contract);
    const reader = await openJobReader(session, job, contract);
    const { columns, checkRecords } = reader.columns;
    const modes = new RuleModes(job.definition.contract);
    const { since, validation } = await judgingOf(session, job, { reader, modes });
    const sample = validation.validated(reader.sample);
    const rules = new ExpressionRules(session);
    const chain = await compileTransforms({ session, rules, references: job.references ?? [] }, transformsOf(job), {
      columns,
      sample,
    });
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
      since,
      direct,
    });
  }

  get #steps(): StepDeclaration[] {
    return declaredSteps(this.#job, { passesOver: this.#since !== null, transforms: this.#chain.steps });
  }

  get #recordsPerBatch(): number {
    return recordsPerBatch(this.#job.definition);
  }

  describe(): OutputShape {
    return { ...this.#shape, steps: this.#steps };
  }

  async discover(known: readonly string[]): Promise<EvolvedField[]> {
    return (await this.#reader.discover?.(known)) ?? [];
  }

  /** The greatest cursor of the range's good records, or of those before it; null while there is none. */
  async newest(range: Range): Promise<string | null> {
    let newest = this.#job.since?.after ?? null;
    await this.start(range, null);
    for (let last = false; !last;) {
      const chunk = await this.#reader.next(this.#recordsPerBatch);
      last = chunk.last || chunk.recordsRead === 0;
      await this.#materialise(chunk);
      if (this.#since) newest = await newestOf(this.#session, this.#since.column, newest);
    }
    return newest;
  }

  async survey(): Promise<SourceSurvey> {
    const { recordsTotal, marks, ...more } = await this.#reader.survey(this.#recordsPerBatch);
    return {
      recordsTotal,
      ...more,
      ...this.describe(),
      ranges: cutRanges(marks, recordsTotal),
    };
  }

  async start(range: Range, cursor: string | null): Promise<void> {
    // A read that failed half-way has left rows behind, which are of no batch.
    this.#rows.close();
    if (this.#maySure && !this.#sampling) {
      const types = this.#shape.columns.map(({ type }) => type);
      this.#reader.beSure?.(types, this.#rows);
    }
    // Who gathers batches makes them anew to resume, and knows them by where they end: as they always did.
    this.#isFirstOfRun = cursor === null && range.record === 0 && this.#job.gathers === undefined;
    const from = cursor === null ? range.from : readCursor(cursor, range.from);
    if (this.#reader instanceof WantedReader) {
      this.#reader.choose(range.clusters ?? []);
      return this.#reader.start({ from, records: range.records });
    }
    await this.#reader.start({ from, records: recordsLeft(from, range) });
  }

  /** Prepares the next batch. The file of the batch before stays until the parent removes it. */
  async next(): Promise<PreparedBatch> {
    const records = this.#isFirstOfRun ? firstBatchRecords(this.#recordsPerBatch) : this.#recordsPerBatch;
    this.#isFirstOfRun = false;
    return this.#prepare(await this.#reader.next(records));
  }

  async #prepare(chunk: Chunk): Promise<PreparedBatch> {
    this.#batchNo += 1;
    const goodFile = goodFilePath(this.#job, `good-${this.#batchNo}`);
    try {
      const { states, refused } = await this.#write(chunk, goodFile);
      const rejected = [...chunk.unreadable, ...chunk.refused, ...refused];
      const frozen = this.#modes.firstFrozen(rejected);
      return {
        cursor: JSON.stringify(chunk.next),
        last: chunk.last || chunk.recordsRead === 0,
        recordsRead: chunk.recordsRead,
        bytesRead: chunk.bytesRead,
        goodFile,
        binaryFile: chunk.sure ?? null,
        columns: this.#goodColumns,
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
      throw nameFailure(cause, {
        format: this.#job.definition.source.format.type,
        transforms: this.#chain.steps.length > 0,
      });
    } finally {
      await chunk.left?.release();
    }
  }

  /** What records from all over the source show. @param surveyed null: the range's chosen records are looked at */
  async sample(range: Range, surveyed: Surveyed | null, recordsMax: number): Promise<DryRunSample> {
    if (surveyed === null) await this.start(range, null);
    const sampled = await this.takeSample(surveyed, recordsMax);
    return sampleOf(this.#session, sampled, this.#output);
  }

  /** The records of a sample; for steps that need all of them the good ones stand in the batch's file. */
  async takeSample(surveyed: Surveyed | null, recordsMax: number): Promise<Sampled> {
    this.#sampling = true;
    const sampling = {
      session: this.#session,
      reader: this.#reader,
      passesOver: this.#since !== null,
      recordsPerBatch: this.#recordsPerBatch,
      prepare: (chunk: Chunk) => this.#prepare(chunk),
    };
    const sampled = await takeSample(sampling, surveyed, recordsMax);
    if (this.#job.gathers !== undefined) await this.#writeGood(sampled.batch.goodFile);
    return sampled;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#rows.close();
    this.#reader.close();
    this.#session.close();
  }

  /** The good records but those whose rows are made already. */
  async #write(chunk: Chunk, goodFile: string): Promise<Prepared> {
    const { sure = null } = chunk;
    if (sure === null) return this.#judge(chunk, goodFile);
    const none: Prepared = { states: new Map(), refused: [] };
    const { states, refused } = chunk.rowCount === 0 ? none : await this.#judge(chunk, goodFile);
    return { states: new Map(states).set(0, (states.get(0) ?? 0) + sure.count), refused };
  }

  async #judge(chunk: Chunk, goodFile: string): Promise<Prepared> {
    return (await this.#writeDirectly(chunk, goodFile)) ?? (await this.#writeMaterialised(chunk, goodFile));
  }

  /** @returns null where the batch has to be kept in between: by what it is for, or to find what a cast could not read */
  async #writeDirectly(chunk: Chunk, goodFile: string): Promise<Prepared | null> {
    if (this.#direct === null || this.#sampling) return null;
    const records = this.#records(this.#validation.validated(chunk.relation));
    const written = await this.#direct.write(this.#session, records, {
      columns: goodCells(this.#goodColumns),
      target: goodFileTarget(this.#job, goodFile),
      areLeft: chunk.left !== undefined,
    });
    await this.#countDropped(chunk);
    requireAgreement(chunk, written.states);
    if ([...written.states.keys()].some((state) => state < 0)) return null;
    return { states: written.states, refused: this.#refusedRows(chunk, written.refused) };
  }

  async #writeMaterialised(chunk: Chunk, goodFile: string): Promise<Prepared> {
    const refusedByAjv = await this.#materialise(chunk);
    await this.#countDropped(chunk);
    const verdicts = await this.#session.rows('select _flux_state, count(*)::bigint from _flux_batch group by all');
    const states = new Map(verdicts.map(([state, count]) => [Number(state), Number(count)]));
    requireAgreement(chunk, states);
    await refuseFailedCasts(this.#session, states, this.#chain.steps);
    const rejectedBySql = (states.get(1) ?? 0) > refusedByAjv.length ? await this.#rejectedBySql(chunk) : [];
    await this.#writeGood(goodFile);
    return { states, refused: [...rejectedBySql, ...refusedByAjv] };
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
    const { columns } = this.#reader.columns;
    const checks = { columns, check: this.#checkRecord, modes: this.#modes, dropped: this.#dropped };
    const refused = await checkRecords(this.#session, chunk, checks, leftOut);
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
    await this.#session.run(`create or replace temp table _flux_batch as ${this.#records(records)}`);
  }

  /** What comes out of the transforms, with each record's verdict. */
  #records(validated: string): string {
    const values = this.#output.map(({ name, expression }) => `${expression} as ${ident(name)}`).join(', ');
    return `
      select _flux_record, _flux_state, _flux_broken, _flux_found, _flux_raw, ${values}
      from (${this.#chain.wrap(validated)})`;
  }

  async #countDropped(chunk: Chunk): Promise<void> {
    for (const { path, rule, count } of chunk.dropped ?? []) this.#dropped.add({ path, rule }, count);
    const { dropped } = this.#validation;
    if (dropped === null || chunk.rowCount === 0) return;
    const [counts = []] = await this.#session.rows(dropped.counts(chunk.relation));
    for (const [at, rule] of dropped.rules.entries()) this.#dropped.add(rule, Number(counts[at]));
  }

  async #rejectedBySql(chunk: Chunk): Promise<RejectedRecord[]> {
    const rows = await this.#session.rows(`
      select _flux_record, _flux_broken, _flux_found, _flux_raw
      from _flux_batch
      where _flux_state = 1 and _flux_broken is not null`);
    return this.#refusedRows(chunk, rows as unknown as RefusedRow[]);
  }

  #refusedRows(chunk: Chunk, rows: readonly RefusedRow[]): RejectedRecord[] {
    return rows.map(([record, broken, found, raw]) => {
      const recordNo = Number(record);
      const place = chunk.rawOf(recordNo);
      const reasons = this.#validation.reasons(broken, found);
      return {
        recordNo,
        byteOffset: place.byteOffset,
        reasons,
        raw: place.raw ?? (raw === null ? null : showRaw(raw)),
      };
    });
  }

  get #goodColumns(): string[] {
    return this.#output.map(({ name }) => name);
  }

  async #writeGood(path: string): Promise<void> {
    // A join gives its records in any order.
    const ordered = writesParts(this.#job) || this.#chain.steps.some(({ kind }) => kind === 'join');
    await this.#session.run(copyGood(this.#job, { columns: this.#goodColumns, ordered, path }));
  }
}
