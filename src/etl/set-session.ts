import { join } from 'node:path';
import { FluxError } from '../errors.ts';
import { BatchSession } from './batch-session.ts';
import { recordsPerBatch } from './batch-size.ts';
import { DuckDbSession } from './duckdb/session.ts';
import { ident, literal } from './duckdb/sql-text.ts';
import type { StepCount, StepDeclaration } from './engine-types.ts';
import { goodCells, goodFilePath, goodFileTarget } from './good-file.ts';
import { shapeOf, transformsOf, writesParts, type Written } from './output-shape.ts';
import type { ChildJob, OutputShape, PreparedBatch, Range, SourceSurvey } from './protocol.ts';
import { readCursor } from './read-cursor.ts';
import { sampleOf } from './sample.ts';
import type { Surveyed } from './ingest/spread.ts';
import type { DryRunSample, StagedColumn } from './staged-types.ts';
import { addCounts, countSegment, zeroCount } from './step-counts.ts';
import { ExpressionRules } from './transform/expression.ts';
import { functionsOf } from './transform/own-functions.ts';
import { runApart } from './transform/run-apart.ts';
import { asGoodRecords, compileSegments, firstWhole, type Segment, stepsOf } from './transform/segments.ts';

/**
 * A pipeline with a step that needs all records at once: one partition, in two phases. First the records are read, checked and
 * transformed row by row in batches, of which the rejected records and the counts commit, and the good ones stand as Parquet parts in
 * the step's folder. Then the rest of the steps run over all of them, and what comes out is committed in batches. All of it is
 * deterministic, so that a later taking makes the parts again, up to its cursor, and goes on.
 */
export class SetSession {
  readonly #job: ChildJob;
  readonly #inner: BatchSession;
  readonly #session: DuckDbSession;
  readonly #segments: readonly Segment[];
  readonly #staged: readonly StagedColumn[];
  readonly #output: readonly Written[];
  readonly #shape: Omit<OutputShape, 'steps'>;
  readonly #steps: StepDeclaration[];
  #parts: string[] = [];
  #gathering = true;
  /** The last record that is written; null before the steps have run. */
  #emitted: number | null = null;
  /** Where an earlier taking stopped in the second phase. */
  #goOnAfter = 0;
  #batchNo = 0;

  private constructor(
    job: ChildJob,
    made: {
      inner: BatchSession;
      session: DuckDbSession;
      segments: readonly Segment[];
      staged: readonly StagedColumn[];
      output: readonly Written[];
      shape: Omit<OutputShape, 'steps'>;
    },
  ) {
    this.#job = job;
    this.#inner = made.inner;
    this.#session = made.session;
    this.#segments = made.segments;
    this.#staged = made.staged;
    this.#output = made.output;
    this.#shape = made.shape;
    const write: StepDeclaration = writesParts(job)
      ? { stage: 'TRANSFORM', step: 'write_parts', kind: 'write' }
      : { stage: 'EXPORT', step: 'write', kind: 'write' };
    this.#steps = [...made.inner.describe().steps.slice(0, -1), ...stepsOf(made.segments), write];
  }

  /** Whether the job's transforms need such a session. */
  static isNeeded(job: ChildJob): boolean {
    return firstWhole(transformsOf(job)) !== -1;
  }

  /** @throws SOURCE_INVALID, CONTRACT_INVALID, INVALID_INPUT as the parts do */
  static async open(job: ChildJob): Promise<SetSession> {
    if (job.wanted) {
      throw new FluxError(
        'INVALID_INPUT',
        'Single records cannot be put through again where a step needs all of them (deduplicate, aggregate, sql, k-anonymity). Rerun the run.',
      );
    }
    const transforms = transformsOf(job);
    const split = firstWhole(transforms);
    const inner = await BatchSession.open({ ...job, stage: 'TRANSFORM', gathers: split });
    const session = await DuckDbSession.open({
      memoryMegabytes: job.memoryMegabytes,
      paths: [],
      folders: [job.workFolder],
      spillFolder: join(job.workFolder, 'spill'),
      functions: functionsOf(job),
    });
    const staged = inner.describe().staged ?? [];
    const nulls = staged.map(({ name, type }) => `null::${typeName(type)} as ${ident(name)}`).join(', ');
    const sample = `select * from (select 0::bigint as _flux_record, ${nulls}) where false`;
    const segments = await compileSegments(
      { session, rules: new ExpressionRules(session), references: job.references ?? [] },
      transforms.slice(split),
      { columns: staged, sample },
    );
    const columns = segments.at(-1)?.columns ?? staged;
    const described = await session.describe(lastQuery(segments, sample));
    const { output, shape } = shapeOf(job, { columns }, described.slice(1));
    return new SetSession(job, { inner, session, segments, staged, output, shape });
  }

  describe(): OutputShape {
    return { ...this.#shape, steps: this.#steps };
  }

  async survey(): Promise<SourceSurvey> {
    const { recordsTotal, places, memoryBytes, ranges } = await this.#inner.survey();
    const [first] = ranges;
    return {
      recordsTotal,
      places,
      ...(memoryBytes === undefined ? {} : { memoryBytes }),
      ...this.describe(),
      ranges: [{ from: first?.from ?? {}, record: 0, records: recordsTotal }],
    };
  }

  async start(range: Range, cursor: string | null): Promise<void> {
    await this.#inner.start(range, null);
    if (cursor === null) return;
    const after = (JSON.parse(cursor) as { set?: number }).set;
    const stop = after === undefined ? JSON.stringify(readCursor(cursor, range.from)) : null;
    this.#goOnAfter = after ?? 0;
    // What these batches reject and count is committed already.
    while (this.#gathering) {
      const batch = await this.#gather();
      if (stop !== null && batch.cursor === stop) return;
    }
    if (stop === null) return;
    throw new FluxError('CHECKPOINT_INCOMPATIBLE', `The cursor ${stop} is no end of a batch. Rerun the run.`);
  }

  next(): Promise<PreparedBatch> {
    return this.#gathering ? this.#gather() : this.#emit();
  }

  async sample(_range: Range, surveyed: Surveyed | null, recordsMax: number): Promise<DryRunSample> {
    const { batch, ...found } = await this.#inner.takeSample(surveyed, recordsMax);
    const gathered = this.#gathered(batch);
    const made = await this.#emit();
    const steps = gathered.steps.map((step, at) => addCounts(step, made.steps[at]));
    return sampleOf(
      this.#session,
      { ...found, batch: { ...gathered, goodCount: made.goodCount, steps } },
      this.#output,
    );
  }

  close(): void {
    this.#inner.close();
    this.#session.close();
  }

  async #gather(): Promise<PreparedBatch> {
    return this.#gathered(await this.#inner.next());
  }

  #gathered(batch: PreparedBatch): PreparedBatch {
    if (batch.goodCount > 0) this.#parts.push(batch.goodFile);
    this.#gathering = !batch.last;
    const gathered = batch.steps.slice(0, -1);
    const rest = this.#steps.slice(gathered.length).map(zeroCount);
    // The part stays: it belongs to this session, and not to who commits the batch.
    const goodFile = join(this.#job.workFolder, 'none');
    return { ...batch, last: false, goodFile, goodCount: 0, steps: [...gathered, ...rest] };
  }

  async #emit(): Promise<PreparedBatch> {
    const counts = this.#emitted === null ? await this.#runSteps() : [];
    // Counts of a taking before are committed with its first batch of this phase.
    const counted = this.#goOnAfter > 0 ? [] : counts;
    const after = this.#emitted ?? this.#goOnAfter;
    const records = recordsPerBatch(this.#job.definition);
    const [bounds] = await this.#session.rows(`
      select count(*), max(_flux_record)
      from (select _flux_record from _flux_batch where _flux_record > ${after} order by _flux_record limit ${records})`);
    const goodCount = Number(bounds?.[0]);
    const until = goodCount === 0 ? after : Number(bounds?.[1]);
    const [left] = await this.#session.rows(`select count(*) from _flux_batch where _flux_record > ${until}`);
    this.#emitted = until;
    this.#batchNo += 1;
    const goodFile = await this.#write(after, until);
    return {
      cursor: JSON.stringify({ set: until }),
      last: Number(left?.[0]) === 0,
      recordsRead: 0,
      bytesRead: 0,
      goodFile,
      binaryFile: null,
      columns: this.#output.map(({ name }) => name),
      goodCount,
      rejected: [],
      dropped: [],
      frozen: null,
      steps: this.#steps.map((step, at) => {
        const own = counted[at - (this.#steps.length - 1 - counted.length)];
        if (step.kind === 'write') return { ...zeroCount(step), recordsIn: goodCount, recordsOut: goodCount };
        return own ?? zeroCount(step);
      }),
      firstRecord: null,
      lastRecord: null,
    };
  }

  async #write(after: number, until: number): Promise<string> {
    const path = goodFilePath(this.#job, `set-${this.#batchNo}`);
    const cells = goodCells(this.#output.map(({ name }) => name));
    await this.#session.run(`
      copy (select ${cells} from _flux_batch where _flux_record > ${after} and _flux_record <= ${until} order by _flux_record)
      to ${goodFileTarget(this.#job, path)}`);
    return path;
  }

  /** Runs the steps over all parts; `_flux_batch` holds what comes out. */
  async #runSteps(): Promise<StepCount[]> {
    this.#inner.close();
    try {
      const counts: StepCount[] = [];
      let table = '_flux_set_0';
      await this.#session.run(`create temp table ${table} as ${this.#allParts()}`);
      for (const [at, segment] of this.#segments.entries()) {
        const into = `_flux_set_${String(at + 1)}`;
        counts.push(...(await this.#runSegment(segment, table, into)));
        await this.#session.run(`drop table ${table}`);
        table = into;
      }
      const values = this.#output.map(({ name, expression }) => `${expression} as ${ident(name)}`).join(', ');
      await this.#session.run(
        `create temp table _flux_batch as select _flux_record, 0::integer as _flux_state, ${values} from ${table}`,
      );
      return counts;
    } catch (cause) {
      if (cause instanceof FluxError) throw cause;
      const [line = ''] = (cause as Error).message.split('\n');
      throw new FluxError('TRANSFORM_FAILED', `The transforms failed on the records: ${line}. Correct the pipeline.`, {
        cause,
      });
    }
  }

  #allParts(): string {
    const columns = this.#staged
      .map(({ name, type }) => `${ident(name)}::${typeName(type)} as ${ident(name)}`)
      .join(', ');
    if (this.#parts.length > 0) {
      const list = this.#parts.map(literal).join(', ');
      return `select _flux_record, ${columns} from read_parquet([${list}]) order by _flux_record`;
    }
    const nulls = this.#staged.map(({ name, type }) => `null::${typeName(type)} as ${ident(name)}`).join(', ');
    return `select * from (select 0::bigint as _flux_record, ${nulls}) where false`;
  }

  async #runSegment(segment: Segment, from: string, into: string): Promise<StepCount[]> {
    const recordsIn = await this.#countOf(from);
    if (segment.kind === 'rows') {
      await this.#session.run(
        `create temp table _flux_rows as ${segment.chain.wrap(asGoodRecords(`select * from ${from}`))}`,
      );
      const states = await this.#session.rows('select _flux_state, count(*) from _flux_rows group by all');
      const counts = countSegment(
        segment.chain.steps,
        recordsIn,
        new Map(states.map(([s, n]) => [Number(s), Number(n)])),
      );
      const columns = segment.columns.map(({ name }) => ident(name)).join(', ');
      await this.#session.run(
        `create temp table ${into} as select _flux_record, ${columns} from _flux_rows where _flux_state = 0`,
      );
      await this.#session.run('drop table _flux_rows');
      return counts;
    }
    const { step } = segment;
    if (step.apart === undefined) await this.#session.run(`create temp table ${into} as ${step.query(from)}`);
    else {
      const { workFolder: folder, memoryMegabytes } = this.#job;
      await runApart(this.#session, { sql: step.apart, from, into }, { folder, memoryMegabytes });
    }
    await step.prove?.(this.#session, into);
    const recordsOut = await this.#countOf(into);
    const changes = step.declaration.kind === 'aggregate' || step.declaration.kind === 'query';
    const recordsFiltered = changes ? 0 : recordsIn - recordsOut;
    return [{ ...step.declaration, recordsIn, recordsOut, recordsRejected: 0, recordsFiltered }];
  }

  async #countOf(table: string): Promise<number> {
    const [row] = await this.#session.rows(`select count(*) from ${table}`);
    return Number(row?.[0]);
  }
}

/** A bare null has no type of its own that a cast could name. */
function typeName(type: string): string {
  return type === '"NULL"' || type === 'NULL' ? 'varchar' : type;
}

function lastQuery(segments: readonly Segment[], sample: string): string {
  return segments.reduce((query, segment) => {
    if (segment.kind === 'whole')
      return `with _flux_from as (${query}) select * from (${segment.step.query('_flux_from')})`;
    const columns = segment.columns.map(({ name }) => ident(name)).join(', ');
    return `select _flux_record, ${columns} from (${segment.chain.wrap(asGoodRecords(query))})`;
  }, sample);
}
