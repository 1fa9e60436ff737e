import type { AuditEntriesQuery } from '@flux-etl/sdk';

import { csv } from '../csv.ts';
import { lineFile, type LineFile } from '../line-file.ts';

export type Entry = AuditEntriesQuery['auditEntries']['edges'][number]['node'];

const head = [
  'seq',
  'at',
  'actor',
  'role',
  'action',
  'resource type',
  'resource',
  'success',
  'error',
  'reason',
  'leaf hash',
];

/**
 * Every entry as CSV under one head. `lines` counts the entries.
 *
 * @param onCount told how many entries there are, now and then and at the end
 */
export async function auditCsv(entries: AsyncIterable<Entry>, onCount: (entries: number) => void): Promise<LineFile> {
  const { content, lines } = await lineFile(entries, (entry) => csv([cellsOf(entry)]), onCount);
  return { content: new Blob([csv([head]), content]), lines };
}

function cellsOf(entry: Entry): string[] {
  return [
    entry.seq,
    entry.at,
    entry.actor,
    entry.role ?? '',
    entry.action,
    entry.resourceType,
    entry.resourceId ?? '',
    String(entry.success),
    entry.errorCode ?? '',
    entry.reason ?? '',
    entry.leafHash,
  ];
}
