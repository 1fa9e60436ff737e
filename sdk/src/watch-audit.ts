import type { Client } from './client.ts';
import {
  AuditEntriesDocument,
  AuditEntryAddedDocument,
  type AuditEntryAddedSubscription,
} from './generated/graphql.ts';
import { executeOnce } from './http.ts';
import { watchFeed } from './watch-feed.ts';
import type { WatchOptions } from './watch-options.ts';

export type AuditEntry = AuditEntryAddedSubscription['auditEntryAdded'];

export interface WatchAuditOptions extends WatchOptions {
  /** Go on after this entry's `cursor`; what is sealed from now on if absent: before `live` is told the first time. */
  after?: string | null;
}

/**
 * Every entry of the audit log as it is sealed, in order and each once, without end, by whatever way it comes.
 *
 * @throws FluxError CURSOR_EXPIRED, FORBIDDEN …: what no other try can change
 */
export function watchAudit(
  client: Client,
  options: WatchAuditOptions = {},
): AsyncGenerator<AuditEntry, void, undefined> {
  return watchFeed<AuditEntry>(
    client,
    {
      open: (way, after, hooks) => client.open(way, AuditEntryAddedDocument, { after }, 'auditEntryAdded', hooks),
      page: (after, { signal }) =>
        client.query(AuditEntriesDocument, { after, first: 100 }, 'auditEntries', { signal }),
      end: (hooks) => executeOnce(client.settings, AuditEntriesDocument, { last: 1 }, 'auditEntries', hooks),
    },
    options,
  );
}
