import { memo, useState } from 'react';

import { Problem } from '../../components/problem.tsx';
import { Table } from '../../components/table.tsx';
import { count } from '../../format.ts';
import { useLoad } from '../../use-load.ts';
import { useSession } from '../../use-session.ts';
import { Pager } from './checkpoints.tsx';
import { Link } from '../../router.tsx';
import type { Permissions, Run } from './use-run.ts';
import { VerbDialog } from './verb-dialog.tsx';

interface RejectedProps {
  run: Run;
  permissions: Permissions | null;
  onDone: () => void;
}

/** The records that the contract refused, each with its reasons, for those who may read data; and the way to put them through again. */
export const RejectedPanel = memo(function RejectedPanel({ run, permissions, onDone }: RejectedProps) {
  const { flux, may } = useSession();
  const [open, setOpen] = useState(false);
  const [asking, setAsking] = useState(false);
  const [after, setAfter] = useState<string[]>([]);
  const allowed = may('data:read');
  const { data, error } = useLoad(
    `${run.runId} ${String(open)} ${after.at(-1) ?? ''}`,
    async (signal) =>
      open && allowed
        ? flux.api.rejectedRecords({ id: run.runId, first: 20, after: after.at(-1) ?? null }, { signal })
        : null,
    open ? run.version : '',
  );
  const page = data?.rejectedRecords;
  const total = run.progress?.recordsRejected;
  return (
    <details className="section" onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
      <summary>
        <h2>Rejected records {total === undefined ? '' : `(${count(total)})`}</h2>
      </summary>
      {!allowed && <p>What they say is shown to roles with data:read.</p>}
      <Problem error={error} title="The records could not be read" />
      {page && (
        <Table
          caption="Rejected records"
          rows={page.edges.map(({ node }) => node)}
          keyOf={({ partitionNo, recordNo }) => `${String(partitionNo)} ${recordNo}`}
          empty="None was rejected."
          columns={[
            { title: 'Record', cell: ({ recordNo }) => count(recordNo) },
            {
              title: 'Reasons',
              cell: ({ reasons }) => (
                <ul className="plain">
                  {reasons.map(({ path, rule, message }) => (
                    <li key={`${path} ${rule} ${message}`}>
                      <code>{path}</code> {message}
                    </li>
                  ))}
                </ul>
              ),
            },
            {
              title: 'Contract',
              cell: ({ contractName, contractVersion }) => `${contractName} v${String(contractVersion)}`,
            },
            {
              title: 'Since',
              cell: ({ landedBy }) =>
                landedBy ? (
                  <>
                    landed with <Link href={`/runs/${landedBy}`}>{landedBy}</Link>
                  </>
                ) : (
                  'rejected'
                ),
            },
            { title: 'As it came', cell: ({ raw }) => <code className="raw">{shown(raw)}</code> },
          ]}
        />
      )}
      {open && permissions?.reprocess.allowed === true && (
        <button type="button" className="usa-button usa-button--outline" onClick={() => setAsking(true)}>
          Reprocess these records
        </button>
      )}
      {asking && (
        <VerbDialog
          verb="reprocess"
          run={run}
          onClose={() => {
            setAsking(false);
            onDone();
          }}
        />
      )}
      <Pager
        hasNext={page?.pageInfo.hasNextPage === true}
        hasPrevious={after.length > 0}
        onNext={() => setAfter((before) => [...before, page?.pageInfo.endCursor ?? ''])}
        onPrevious={() => setAfter((before) => before.slice(0, -1))}
      />
    </details>
  );
});

function shown(raw: unknown): string {
  const text = typeof raw === 'string' ? raw : JSON.stringify(raw);
  return text.length > 400 ? `${text.slice(0, 400)} …` : text;
}
