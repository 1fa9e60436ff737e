import { listRejectedRecords, type StoredRejectedRecord } from '../src/db/rejected-records-read.ts';
import type { Run } from '../src/db/runs.ts';
import { openRejectedRecords } from '../src/domain/rejected-records.ts';
import { type Context, read } from './context.ts';
import { type Page, type PageArgs, pageOf } from './cursor.ts';

export type { StoredRejectedRecord } from '../src/db/rejected-records-read.ts';

export function rejectedRecordsOf(ctx: Context, run: Run, page: PageArgs): Promise<Page<StoredRejectedRecord>> {
  return pageOf(ctx, `rejected:${run.id}`, page, {
    read: (position, limit, backward) =>
      read(ctx, async (tx) => {
        const after = position && BigInt(position[0] ?? 0);
        return openRejectedRecords(
          ctx.api,
          tx,
          run.agency,
          await listRejectedRecords(tx, { runId: run.id, after, limit, backward }),
        );
      }),
    positionOf: ({ recordNo }) => [String(recordNo)],
  });
}
