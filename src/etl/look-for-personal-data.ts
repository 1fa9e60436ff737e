import type { EtlChild } from './child-process.ts';
import type { PlanRequest, SourcePlan } from './engine-types.ts';
import type { Surveyed } from './ingest/spread.ts';
import { type EngineDeps, surveyTimeoutMsDefault, withChild } from './open-child.ts';
import { withPlaces, type OpenRequest } from './open-input.ts';
import type { Range, SampleReply, SourceSurvey } from './protocol.ts';
import { readRange } from './ranges.ts';
import { refusesPersonalData, requireNoPersonalColumns } from './refuse-personal-data.ts';

/** Enough to meet what is wrong with a source, and one batch. */
const sampleRecords = 10_000;

/** What a survey says that a sample needs. @param contentBytes of the source */
export function surveyedOf(
  { places, recordsTotal, memoryBytes = 0 }: Pick<SourceSurvey, 'places' | 'recordsTotal' | 'memoryBytes'>,
  contentBytes: number,
): Surveyed {
  return { places, recordsTotal, bytesTotal: Math.max(contentBytes, memoryBytes) };
}

/** A sample by the child that has surveyed the source. @param range of chosen records, where they are what is looked at */
export function askSample(
  { surveyTimeoutMs = surveyTimeoutMsDefault }: EngineDeps,
  child: EtlChild,
  surveyed: Surveyed | null,
  range: Range = whole,
): Promise<SampleReply> {
  return child.ask<SampleReply>({ ask: 'sample', range, surveyed, records: sampleRecords }, surveyTimeoutMs);
}

const whole: Range = { from: {}, record: 0, records: 0 };

/** A sample by a child of its own: one that has sampled writes no batches. Of a stage's input it opens the parts that it looks into. */
export function sampleApart(
  deps: EngineDeps,
  request: OpenRequest,
  surveyed: Surveyed,
  first: Range = whole,
): Promise<SampleReply> {
  const within = ({ before, records }: { before: number; records: number }): boolean =>
    surveyed.places.some(({ record }) => record >= before && record < before + records);
  const { staged } = request;
  const range = staged ? { ...first, parts: withPlaces(staged.parts).filter(within) } : first;
  return withChild(deps, unkept(request), (child) => askSample(deps, child, surveyed), range);
}

/**
 * Looks at a sample of what a run would load, where its pipeline refuses personal data.
 *
 * @throws PERSONAL_DATA_FOUND
 */
export async function lookBeforeLoading(
  deps: EngineDeps,
  request: PlanRequest,
  { first, surveyed }: { first: SourcePlan['ranges'][number] | undefined; surveyed: Surveyed },
): Promise<void> {
  if (!first || !refusesPersonalData(request.definition, request.stage)) return;
  const { personalData } = await sampleApart(deps, request, surveyed, readRange(first));
  requireNoPersonalColumns(request.definition, personalData);
}

/**
 * The same for a plan that another run has made: of its whole source, which is surveyed again, or of chosen records.
 *
 * @throws PERSONAL_DATA_FOUND
 */
export async function lookAgain(
  deps: EngineDeps,
  request: PlanRequest,
  first: SourcePlan['ranges'][number] | undefined,
): Promise<void> {
  if (!first || !refusesPersonalData(request.definition, request.stage)) return;
  const range = readRange(first);
  const look = async (child: EtlChild, contentBytes: number): Promise<SampleReply> => {
    if (range.clusters) return askSample(deps, child, null, range);
    const survey = await child.ask<SourceSurvey>({ ask: 'survey' }, deps.surveyTimeoutMs ?? surveyTimeoutMsDefault);
    return askSample(deps, child, surveyedOf(survey, contentBytes));
  };
  const { personalData } = await withChild(deps, unkept(request), look, range);
  requireNoPersonalColumns(request.definition, personalData);
}

function unkept({ runId: _keptBy, ...request }: OpenRequest): OpenRequest {
  return request;
}
