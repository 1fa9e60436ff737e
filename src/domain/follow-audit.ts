import { auditHint } from '../audit/hint.ts';
import { listSealedEntries, sealedBounds, type SealedEntry } from '../db/audit-entries.ts';
import type { BatchStream } from '../events/batches.ts';
import { type FeedRequest, followFeed } from '../events/feed.ts';
import type { FollowDeps } from '../events/follow.ts';

/**
 * Every entry of the session's agency after a number, as it is sealed, in order and exactly once; never ends by itself. A
 * database that is away for a while is waited out.
 */
export function followAudit(deps: FollowDeps, request: Omit<FeedRequest, 'selection'>): BatchStream<SealedEntry> {
  return followFeed<SealedEntry>(
    deps,
    {
      hint: auditHint,
      // One hint a sealed batch, and an auditor waits for it.
      quietMs: 0,
      findHead: async (tx) => ({ place: (await sealedBounds(tx)).lastSeq, more: false }),
      async readPage(tx, { afterSeq, upToSeq, limit }) {
        const entries = await listSealedEntries(tx, { afterSeq, limit });
        return entries.filter(({ seq }) => seq <= upToSeq);
      },
      placeOf: ({ seq }) => seq,
    },
    { ...request, selection: '' },
  );
}
