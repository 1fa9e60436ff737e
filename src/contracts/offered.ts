import type { Issue } from '../errors.ts';
import { readCopybook } from './copybook/record-layout.ts';
import type { PipelineDefinition } from './documents.ts';
import { refuse } from './issues.ts';
import { joinIssues } from './joins.ts';

/**
 * Refuses at registration what a run could not do.
 *
 * @throws INVALID_INPUT naming each part that cannot be done, and what can; or the copybook's line that cannot be used
 */
export function requireOffered(definition: PipelineDefinition): void {
  const issues: Issue[] = joinIssues(definition);
  const { format } = definition.source;
  if (definition.schedule !== null) {
    const message = `asks for ${definition.schedule}; offered is null (make a schedule with createSchedule, or flux schedules)`;
    issues.push({ path: '/schedule', rule: 'offered', message });
  }
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
  if (issues.length > 0) refuse('INVALID_INPUT', 'The pipeline asks for what cannot be done', issues);
  if (format.type === 'mainframe') readCopybook(format.copybook);
}
