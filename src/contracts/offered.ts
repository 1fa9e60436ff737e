import type { Issue } from '../errors.ts';
import { readCopybook } from './copybook/record-layout.ts';
import type { Format, PipelineDefinition, Transform } from './documents.ts';
import { refuse } from './issues.ts';

/** What this version runs; the rest of the pipeline document is accepted by the schema and refused here, by name. */
export const offeredFormats = [
  'csv',
  'json',
  'ndjson',
  'parquet',
  'fixed',
  'mainframe',
] as const satisfies readonly Format['type'][];
export const offeredTransforms = [
  'rename',
  'cast',
  'derive',
  'filter',
  'deduplicate',
  'aggregate',
  'sql',
  'sterilise',
] as const satisfies readonly Transform['type'][];

export type OfferedFormat = Extract<Format, { type: (typeof offeredFormats)[number] }>;
export type OfferedTransform = Extract<Transform, { type: (typeof offeredTransforms)[number] }>;

/** A definition that the engine runs: `requireOffered` has narrowed its format and its transforms. */
export type OfferedDefinition = Omit<PipelineDefinition, 'source' | 'transforms'> & {
  source: Omit<PipelineDefinition['source'], 'format'> & { format: OfferedFormat };
  transforms: OfferedTransform[];
};

/**
 * Refuses at registration what a run could not do.
 *
 * @throws INVALID_INPUT naming each part that is not offered yet, and what is; or the copybook's line that cannot be used
 */
export function requireOffered(
  definition: PipelineDefinition,
): asserts definition is PipelineDefinition & OfferedDefinition {
  const issues: Issue[] = [];
  const formats: readonly string[] = offeredFormats;
  const transforms: readonly string[] = offeredTransforms;
  const { format } = definition.source;
  if (!formats.includes(format.type)) issues.push(notOffered('/source/format/type', format.type, formats));
  for (const [at, { type }] of definition.transforms.entries()) {
    if (!transforms.includes(type)) issues.push(notOffered(`/transforms/${at}/type`, type, transforms));
  }
  if (definition.schedule !== null)
    issues.push(
      notOffered('/schedule', definition.schedule, ['null (make a schedule with createSchedule, or flux schedules)']),
    );
  if (definition.source.pages !== undefined && (format.type !== 'json' || format.compression !== undefined)) {
    const message = 'is for the format json without compression';
    issues.push({ path: '/source/pages', rule: 'offered', message });
  }
  if (
    'encoding' in format &&
    (format.encoding ?? 'utf-8') !== 'utf-8' &&
    (definition.source.pages !== undefined || (format.type === 'fixed' && format.recordLength !== undefined))
  ) {
    const message = 'is utf-8 for lists in pages, and where recordLength counts bytes';
    issues.push({ path: '/source/format/encoding', rule: 'offered', message });
  }
  if (definition.source.incremental !== undefined && definition.destination.mode !== 'merge') {
    // A failed run that is resumed after a later one has read the same rows again: only by key do they land once.
    const message = 'needs a destination of mode merge, with a key';
    issues.push({ path: '/source/incremental', rule: 'offered', message });
  }
  if (issues.length > 0) refuse('INVALID_INPUT', 'The pipeline asks for what this version does not offer yet', issues);
  if (format.type === 'mainframe') readCopybook(format.copybook);
}

function notOffered(path: string, found: string, offered: readonly string[]): Issue {
  return { path, rule: 'offered', message: `asks for ${found}; offered are ${offered.join(', ')}` };
}
