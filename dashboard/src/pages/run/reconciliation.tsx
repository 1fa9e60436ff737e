import { memo } from 'react';

import { Icon } from '../../components/icon.tsx';
import { Table } from '../../components/table.tsx';
import { csv } from '../../csv.ts';
import { count, download, words } from '../../format.ts';
import type { Run } from './use-run.ts';

/** Whether every record that was read is accounted for, step by step, and what the destination itself counts. */
export const ReconciliationPanel = memo(function ReconciliationPanel({ run }: { run: Run }) {
  const { reconciliation: counts } = run;
  if (!counts || counts.steps.length === 0) return null;
  const over = run.status === 'COMPLETED';
  return (
    <section aria-labelledby="reconciliation-title">
      <h2 id="reconciliation-title">Reconciliation</h2>
      <p className={counts.balanced ? 'status status--good' : over ? 'status status--bad' : 'status status--neutral'}>
        <Icon name={counts.balanced ? 'check' : over ? 'cross' : 'clock'} />
        {counts.balanced
          ? over
            ? 'Every record is accounted for'
            : 'It adds up so far'
          : over
            ? 'The counts do not add up'
            : 'Not complete yet'}
      </p>
      <p>
        {count(counts.recordsRead)} read = {count(counts.recordsWritten)} written + {count(counts.recordsRejected)}{' '}
        rejected + {count(counts.recordsFiltered)} left out by a rule.
        {typeof counts.destinationCount === 'string' && ` The destination counts ${count(counts.destinationCount)}.`}
      </p>
      {counts.differences.map((difference) => (
        <p key={difference}>{difference}</p>
      ))}
      <Table
        caption="Counts of every step"
        rows={counts.steps}
        keyOf={({ position }) => String(position)}
        columns={[
          { title: 'Step', cell: ({ step }) => words(step) },
          { title: 'Stage', cell: ({ stage }) => words(stage) },
          { title: 'Kind', cell: ({ kind }) => words(kind) },
          { title: 'In', numeric: true, cell: ({ recordsIn }) => count(recordsIn) },
          { title: 'Out', numeric: true, cell: ({ recordsOut }) => count(recordsOut) },
          { title: 'Rejected', numeric: true, cell: ({ recordsRejected }) => count(recordsRejected) },
          { title: 'Left out', numeric: true, cell: ({ recordsFiltered }) => count(recordsFiltered) },
        ]}
      />
      <button
        type="button"
        className="usa-button usa-button--unstyled"
        onClick={() =>
          download(
            `steps-${run.runId}.csv`,
            csv([
              ['step', 'stage', 'kind', 'in', 'out', 'rejected', 'left out'],
              ...counts.steps.map((one) => [
                one.step,
                one.stage,
                one.kind,
                one.recordsIn,
                one.recordsOut,
                one.recordsRejected,
                one.recordsFiltered,
              ]),
            ]),
            'text/csv',
          )
        }
      >
        Counts as CSV
      </button>
    </section>
  );
});
