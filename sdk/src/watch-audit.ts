import type { Client } from './client.ts';
import {
  AuditEntriesDocument,
  AuditEntryAddedDocument,
  type AuditEntryAddedSubscription,
} from './generated/graphql.ts';
import { poll, watch, type WatchOptions } from './watch-options.ts';

export type AuditEntry = AuditEntryAddedSubscription['auditEntryAdded'];

export interface WatchAuditOptions extends WatchOptions {
  /** Go on after this entry's `cursor`; what comes from now on if absent. */
  after?: string | null;
}

/** Every entry of the audit log as it is sealed, in order and each once, without end. @throws FluxError */
export function watchAudit(
  client: Client,
  options: WatchAuditOptions = {},
): AsyncGenerator<AuditEntry, void, undefined> {
  return watch<AuditEntry>(
    client,
    {
      after: options.after ?? null,
      open(transport, after, hooks) {
        if (transport !== 'polling')
          return client.open(transport, AuditEntryAddedDocument, { after }, 'auditEntryAdded', hooks);
        let cursor = after;
        return poll<AuditEntry>(client, hooks, async () => {
          hooks.used(await client.settings.token.current());
          const { edges, pageInfo } = await client.query(
            AuditEntriesDocument,
            { after: cursor, first: 100 },
            'auditEntries',
            { signal: hooks.signal },
          );
          cursor = edges.at(-1)?.cursor ?? cursor;
          return { items: edges.map(({ node }) => node), more: pageInfo.hasNextPage };
        });
      },
      cursorOf: ({ cursor }) => cursor,
      isLast: () => false,
    },
    options,
  );
}
