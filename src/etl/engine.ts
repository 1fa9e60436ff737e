import { createReadStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { FluxError } from '../errors.ts';
import type {
  Batch,
  BatchesRequest,
  DryRunReport,
  DryRunRequest,
  EtlEngine,
  PlanRequest,
  SourcePlan,
  StagedPart,
} from './engine-types.ts';
import type { EvolvedField } from './evolved-contract.ts';
import { type FieldQuestions, findEvolved } from './find-evolved.ts';
import { CountAhead } from './count-ahead.ts';
import { removeFiles } from './good-file.ts';
import type { Surveyed } from './ingest/spread.ts';
import { columnName } from './ingest/column-names.ts';
import { KeptChild, type OpenedChild } from './kept-child.ts';
import type { OutputShape, PreparedBatch, Range, SourceSurvey } from './protocol.ts';
import {
  type EngineDeps,
  type EtlDeps,
  keyOf,
  leaveChild,
  openChild,
  stepTimeoutMsDefault,
  surveyTimeoutMsDefault,
  withChild,
} from './open-child.ts';
import { partsOf, readRange } from './ranges.ts';
import { askSample, lookAgain, lookBeforeLoading, sampleApart, surveyedOf } from './look-for-personal-data.ts';
import { SpareChild } from './spare-child.ts';
import { refusesPersonalData, requireNoPersonalColumns } from './refuse-personal-data.ts';
import { createSourcePins, type SourcePins } from './source-pins.ts';
import { cutWanted } from './wanted-records.ts';

/** The ETL engine: files in, DuckDB children between, batches out. */
export function createEtlEngine(given: EtlDeps): EtlEngine {
  const deps: EngineDeps = { ...given, kept: new KeptChild(), spare: new SpareChild(given.codeFolder) };
  const pins = createSourcePins(deps);
  const ahead = new CountAhead(deps);
  return {
    expectWork() {
      // One that waits for its run's next range is what will be wanted.
      if (!deps.kept.waits) deps.spare.begin();
    },
    async close() {
      await Promise.all([deps.kept.end(), deps.spare.end()]);
    },
    pinSource: (request) => ahead.pin(pins, request),
    planSource: (request) => planSource(deps, ahead, request),
    openBatches: (request) => openBatches(deps, request),
    async storeReference({ agency, path, dataKey }) {
      const { address, sha256, byteCount, keyVersion } = await deps.objects.put(
        agency,
        createReadStream(path),
        dataKey,
      );
      return { address, sha256, byteCount, keyVersion };
    },
    requireNoPersonalData: (request, range) => lookAgain(deps, request, range),
    describeOutput: (request) =>
      withChild(deps, request, (child) => child.ask<OutputShape>({ ask: 'describe' }, stepTimeoutMsDefault)),
    dryRun: (request) => dryRun(deps, pins, request),
    cutRecords: ({ source, records, ranges }) =>
      cutWanted(records, { ranges: ranges.map(readRange), byRow: source.format.type === 'parquet' }).map((range) => ({
        ...range,
      })),
  };
}

async function planSource(deps: EngineDeps, ahead: CountAhead, asked: PlanRequest): Promise<SourcePlan> {
  const request = await findEvolved(asked, askingFields(deps));
  const { plan, surveyed } = await survey(deps, ahead, request);
  const increased = await withIncrement(deps, request, plan);
  await lookBeforeLoading(deps, request, { first: plan.ranges[0], surveyed });
  return increased;
}

async function survey(
  deps: EngineDeps,
  ahead: CountAhead,
  request: PlanRequest,
): Promise<{ plan: SourcePlan; surveyed: Surveyed }> {
  const counted = await ahead.take(request);
  const opened = counted?.opened ?? (await openChild(deps, request));
  let done = false;
  try {
    const timeoutMs = deps.surveyTimeoutMs ?? surveyTimeoutMsDefault;
    const survey = counted?.survey ?? (await opened.child.ask<SourceSurvey>({ ask: 'survey' }, timeoutMs));
    const { recordsTotal, columns, steps, staged, ranges } = survey;
    requireCount(request.object, recordsTotal);
    requireRoom(columns);
    const [first] = ranges;
    // Most often it is this worker that takes it, as soon as the plan is committed.
    if (first && keyOf(deps, request, null) !== null) beginRange(deps, opened, first);
    done = true;
    const plan = {
      recordsTotal,
      bytesTotal: opened.contentBytes,
      columns,
      steps,
      staged,
      ...(request.evolved
        ? { evolved: request.evolved.map(({ name }) => ({ field: name, column: columnName([name]) })) }
        : {}),
      ranges: ranges.map((range) => ({
        ...range,
        ...partsOf(request, range),
        ...(request.evolved?.length ? { evolved: request.evolved } : {}),
        ...(request.since ? { since: request.since } : {}),
      })),
    };
    return { plan, surveyed: surveyedOf(survey, opened.contentBytes) };
  } finally {
    await leaveChild(deps, request, { opened, range: null, done });
  }
}

/** Up to where the good records go: a look at all of them before the first is loaded, so that a garbled one moves no mark. */
async function withIncrement(deps: EngineDeps, request: PlanRequest, plan: SourcePlan): Promise<SourcePlan> {
  const { since } = request;
  const [first] = plan.ranges;
  if (!since || !first) return plan;
  const range = { ...readRange(first), records: plan.recordsTotal ?? 0 };
  const timeoutMs = deps.surveyTimeoutMs ?? surveyTimeoutMsDefault;
  // No batch will be asked of this child, so it is not one to be kept.
  const { runId: _keptBy, ...judged } = { ...request, stage: 'INGEST' as const };
  const value = await withChild(
    deps,
    judged,
    (child) => child.ask<string | null>({ ask: 'newest', range }, timeoutMs),
    range,
  );
  return { ...plan, increment: { cursor: since.cursor, value } };
}

/** What `findEvolved` asks children. */
function askingFields(deps: EngineDeps): FieldQuestions {
  return {
    discover: (request, known) =>
      withChild(deps, request, (child) =>
        child.ask<EvolvedField[]>({ ask: 'discover', known }, deps.surveyTimeoutMs ?? surveyTimeoutMsDefault),
      ),
    describe: (request) =>
      withChild(deps, request, (child) => child.ask<OutputShape>({ ask: 'describe' }, stepTimeoutMsDefault)),
  };
}

/** PostgreSQL's own limit (appendix K) is 1,600 columns, some of them Flux's own. */
const columnsMax = 1_500;

function requireRoom(columns: SourcePlan['columns']): void {
  if (columns.length <= columnsMax) return;
  throw new FluxError(
    'SOURCE_INVALID',
    `The records have ${String(columns.length)} columns; a dataset holds at most ${String(columnsMax)}. Name those that are needed in the contract.`,
  );
}

/** A system that counts what it gives must have given what was read. */
function requireCount(object: PlanRequest['object'], recordsTotal: number): void {
  const { recordCount = null, origin = '' } = object ?? {};
  if (recordCount === null || recordCount === recordsTotal) return;
  throw new FluxError(
    'NOT_RECONCILED',
    `${origin} says that it gave ${String(recordCount)} records, and ${String(recordsTotal)} were read. Nothing was loaded.`,
  );
}

/** Reads the source into the work folder, surveys it, and looks at records from all over it. Nothing is kept. */
async function dryRun(deps: EngineDeps, pins: SourcePins, { pin, ...request }: DryRunRequest): Promise<DryRunReport> {
  const folder = await mkdtemp(join(request.workFolder, 'dry-'));
  try {
    const copy = pin && (await pins.copy({ ...pin, signal: request.signal }, join(folder, 'source')));
    const planned = await findEvolved(
      { ...request, object: null, ...(copy ? { localObject: copy } : {}) },
      askingFields(deps),
    );
    return await withChild(deps, planned, async (child, contentBytes) => {
      const timeoutMs = deps.surveyTimeoutMs ?? surveyTimeoutMsDefault;
      const survey = await child.ask<SourceSurvey>({ ask: 'survey' }, timeoutMs);
      const surveyed = surveyedOf(survey, contentBytes);
      // Planning opens none of the parts.
      const sample = await (planned.staged ? sampleApart(deps, planned, surveyed) : askSample(deps, child, surveyed));
      if (refusesPersonalData(request.definition, request.stage))
        requireNoPersonalColumns(request.definition, sample.personalData);
      return {
        origin: copy?.origin ?? 'parts of an earlier stage',
        sha256: copy?.sha256 ?? null,
        recordsTotal: survey.recordsTotal,
        bytesTotal: contentBytes,
        columns: (survey.staged ?? survey.columns).map(({ name, type }) => ({ name, type })),
        steps: survey.steps,
        partitions: survey.ranges.map(({ record, records }) => ({ record, records })),
        sample,
      };
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function* openBatches(deps: EngineDeps, request: BatchesRequest): AsyncGenerator<Batch, void, undefined> {
  const range = readRange(request.range);
  const opened = await openChild(deps, request, range);
  const { child } = opened;
  let done = false;
  try {
    const timeoutMs = deps.stepTimeoutMs ?? stepTimeoutMsDefault;
    await startRange(deps, opened, range, request.cursor);
    const prepare = (): Promise<PreparedBatch> => {
      const promise = child.ask<PreparedBatch>({ ask: 'next' }, timeoutMs).then((prepared) => {
        // At once, and not when somebody takes this one: the batch before may still be copied, and the child would wait for that.
        if (prepared.last && keyOf(deps, request, range) !== null) beginFollowing(deps, opened, range, prepared);
        return prepared;
      });
      // Awaited in the next turn; until then a failure must not count as unhandled.
      promise.catch(() => undefined);
      return promise;
    };
    let ahead = prepare();
    for (;;) {
      const prepared = await ahead;
      if (prepared.last) done = true;
      else ahead = prepare();
      const part = await storePart(deps, request, prepared);
      // What ends the reading from here on finds nothing that reads.
      if (done) child.detach();
      yield { ...prepared, part, release: () => removeFiles(prepared) };
      if (prepared.last) return;
    }
  } finally {
    await leaveChild(deps, request, { opened, range, done });
  }
}

async function startRange(deps: EngineDeps, opened: OpenedChild, range: Range, cursor: string | null): Promise<void> {
  const { guess } = opened;
  opened.guess = null;
  if (guess !== null) {
    const right = cursor === null && guess.record === range.record && guess.records === range.records;
    if (right && (await guess.begun)) return;
    opened.guessedWrong = true;
  }
  // A step that needs all records makes those again that came before the cursor.
  const timeoutMs = deps.surveyTimeoutMs ?? surveyTimeoutMsDefault;
  await opened.child.ask({ ask: 'start', range, cursor, likely: false }, timeoutMs);
}

/** A worker that is alone with a run takes the range behind the one that it has done: its first batch is made while the last is committed. */
function beginFollowing(
  deps: EngineDeps,
  opened: OpenedChild,
  { record, records, following }: Range,
  last: PreparedBatch,
): void {
  if (following === undefined || opened.guessedWrong) return;
  const from = JSON.parse(last.cursor) as Range['from'];
  beginRange(deps, opened, { from, record: record + records, records: following });
}

/** Begins a range before anybody asks for it. */
function beginRange(deps: EngineDeps, opened: OpenedChild, { from, record, records }: Range): void {
  const ask = { ask: 'start', range: { from, record, records }, cursor: null, likely: true } as const;
  const begun = opened.child.ask(ask, deps.surveyTimeoutMs ?? surveyTimeoutMsDefault).then(
    () => true,
    () => false,
  );
  opened.guess = { record, records, begun };
}

/** A stage's good records leave the machine before the batch commits: what a committed batch names is there. */
async function storePart(
  { objects }: EtlDeps,
  { stage = 'FULL', agency, dataKey = null }: BatchesRequest,
  { goodFile, goodCount }: PreparedBatch,
): Promise<StagedPart | null> {
  if ((stage !== 'INGEST' && stage !== 'TRANSFORM') || goodCount === 0) return null;
  if (agency === undefined) throw new FluxError('INTERNAL', `Stage ${stage} writes parts, and nobody said whose.`);
  return { ...(await objects.put(agency, createReadStream(goodFile), dataKey)), records: goodCount };
}
