import { memo, useState } from 'react';

import { Problem } from '../../components/problem.tsx';
import { Status } from '../../components/status.tsx';
import { Table } from '../../components/table.tsx';
import { count, moment } from '../../format.ts';
import { useLoad } from '../../use-load.ts';
import { useSession } from '../../use-session.ts';
import type { Permissions, Run } from './use-run.ts';
import { VerbDialog } from './verb-dialog.tsx';

/** Where a run can go on from, and whether each checkpoint still says what it said when it was saved. */
export const CheckpointsPanel = memo(function CheckpointsPanel({
  run,
  permissions,
}: {
  run: Run;
  permissions: Permissions | null;
}) {
  const { flux } = useSession();
  const [open, setOpen] = useState(false);
  const [after, setAfter] = useState<string[]>([]);
  const [fork, setFork] = useState<{ id: string; version: number } | null>(null);
  const { data, error } = useLoad(
    `${run.runId} ${String(open)} ${after.at(-1) ?? ''}`,
    async (signal) =>
      open ? flux.api.runCheckpoints({ id: run.runId, first: 20, after: after.at(-1) ?? null }, { signal }) : null,
    open ? run.version : '',
  );
  const page = data?.checkpoints;
  return (
    <details className="section" onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
      <summary>
        <h2>Checkpoints</h2>
      </summary>
      <Problem error={error} title="The checkpoints could not be read" />
      {page && (
        <Table
          caption="Checkpoints"
          rows={page.edges.map(({ node }) => node)}
          keyOf={({ id }) => id}
          empty="No checkpoint has been saved yet."
          columns={[
            { title: 'Checkpoint', cell: ({ partition, version }) => `${String(partition)} · ${String(version)}` },
            { title: 'Integrity', cell: ({ integrity }) => <Status value={integrity} /> },
            { title: 'Step', cell: ({ step }) => step },
            { title: 'Read', numeric: true, cell: ({ counts }) => count(counts?.read) },
            { title: 'Written', numeric: true, cell: ({ counts }) => count(counts?.written) },
            { title: 'Rejected', numeric: true, cell: ({ counts }) => count(counts?.rejected) },
            { title: 'Saved', cell: ({ createdAt }) => moment(createdAt) },
            { title: 'SHA-256', cell: ({ hash }) => <code title={hash}>{hash.slice(0, 12)}…</code> },
            {
              title: 'Fork',
              cell: ({ id, version, partition }) =>
                permissions?.fork.allowed === true ? (
                  <button
                    type="button"
                    className="usa-button usa-button--unstyled"
                    onClick={() => setFork({ id, version })}
                  >
                    fork<span className="usa-sr-only"> from {`${String(partition)} · ${String(version)}`}</span>
                  </button>
                ) : (
                  '–'
                ),
            },
          ]}
        />
      )}
      <Pager
        hasNext={page?.pageInfo.hasNextPage === true}
        hasPrevious={after.length > 0}
        onNext={() => setAfter((before) => [...before, page?.pageInfo.endCursor ?? ''])}
        onPrevious={() => setAfter((before) => before.slice(0, -1))}
      />
      {fork && <VerbDialog verb="fork" run={run} checkpointId={fork.id} onClose={() => setFork(null)} />}
    </details>
  );
});

interface PagerProps {
  hasNext: boolean;
  hasPrevious: boolean;
  onNext: () => void;
  onPrevious: () => void;
}

export function Pager({ hasNext, hasPrevious, onNext, onPrevious }: PagerProps) {
  if (!hasNext && !hasPrevious) return null;
  return (
    <div className="pager">
      <button type="button" className="usa-button usa-button--outline" disabled={!hasPrevious} onClick={onPrevious}>
        Previous
      </button>
      <button type="button" className="usa-button usa-button--outline" disabled={!hasNext} onClick={onNext}>
        Next
      </button>
    </div>
  );
}
