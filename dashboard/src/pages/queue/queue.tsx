import { useState } from 'react';

import { Calls, restCall } from '../../components/calls.tsx';
import { Page } from '../../components/page.tsx';
import { Problem } from '../../components/problem.tsx';
import { Status } from '../../components/status.tsx';
import { Table } from '../../components/table.tsx';
import { count, moment, words } from '../../format.ts';
import { Link, useQuery } from '../../router.tsx';
import { useLoad } from '../../use-load.ts';
import { useSession } from '../../use-session.ts';
import { BackfillView } from './backfill-grid.tsx';
import { FairShare } from './fair-share.tsx';
import { Health } from './health.tsx';
import { Schedules } from './schedules.tsx';

/** What works and what waits: the installation's health, held partitions, waiting runs with their reasons, schedules, backfills. */
export default function QueuePage() {
  const { flux } = useSession();
  const [query] = useQuery();
  const backfill = query.get('backfill');
  const [round, setRound] = useState(0);
  const held = useLoad('held', async (signal) => {
    const { edges } = await flux.api.runs({ filter: { status: ['IN_PROGRESS', 'CANCELLING'] }, first: 20 }, { signal });
    const runs = await Promise.all(edges.map(({ node }) => flux.api.run({ id: node.runId }, { signal })));
    return runs.flatMap((run) =>
      run ? run.partitions.filter(({ status }) => status === 'EXECUTING').map((partition) => ({ run, partition })) : [],
    );
  });
  const waiting = useLoad('waiting', (signal) =>
    flux.api.runs({ filter: { status: ['PENDING'] }, first: 50 }, { signal }),
  );
  const backfills = useLoad('backfills', (signal) => flux.api.backfills({ first: 20 }, { signal }));
  const reload = (): void => {
    [held, waiting, backfills].forEach((one) => one.reload());
    setRound((before) => before + 1);
  };
  return (
    <Page
      title="Workers and queue"
      aside={
        <button type="button" className="usa-button usa-button--outline" onClick={reload}>
          Read again
        </button>
      }
    >
      <Problem error={held.error ?? waiting.error ?? backfills.error} />
      <Health round={round} />
      <FairShare executing={held.data?.length ?? 0} round={round} />
      <h2>Held by workers</h2>
      <Table
        caption="Partitions that a worker holds now"
        rows={held.data ?? []}
        keyOf={({ run, partition }) => `${run.runId} ${partition.stage} ${String(partition.partitionNo)}`}
        empty={held.data ? 'No worker holds a partition of this agency.' : 'Loading …'}
        columns={[
          { title: 'Worker', cell: ({ partition }) => partition.worker ?? '–' },
          {
            title: 'Run',
            cell: ({ run }) => <Link href={`/runs/${run.runId}`}>{run.pipeline?.name ?? run.runId}</Link>,
          },
          { title: 'Partition', cell: ({ partition }) => `${words(partition.stage)} ${String(partition.partitionNo)}` },
          { title: 'Takings', numeric: true, cell: ({ partition }) => String(partition.epoch) },
          { title: 'Read', numeric: true, cell: ({ partition }) => count(partition.recordsRead) },
          { title: 'Last sign', cell: ({ partition }) => moment(partition.updatedAt) },
          { title: 'Lease until', cell: ({ partition }) => moment(partition.leaseExpiresAt) },
        ]}
      />
      <h2>Waiting</h2>
      <Table
        caption="Runs that wait"
        rows={waiting.data?.edges.map(({ node }) => node) ?? []}
        keyOf={({ id }) => id}
        empty={waiting.data ? 'Nothing waits.' : 'Loading …'}
        columns={[
          { title: 'Run', cell: (run) => <Link href={`/runs/${run.runId}`}>{run.pipeline?.name ?? run.runId}</Link> },
          { title: 'Why', cell: ({ waitingReason }) => waitingReason?.message ?? '–' },
          {
            title: 'Place',
            numeric: true,
            cell: ({ waitingReason }) => (waitingReason?.queuePosition ? String(waitingReason.queuePosition) : '–'),
          },
          { title: 'Asked for', cell: ({ createdAt }) => moment(createdAt) },
        ]}
      />
      <Schedules round={round} />
      <h2>Backfills</h2>
      <Table
        caption="Backfills"
        rows={backfills.data?.edges.map(({ node }) => node) ?? []}
        keyOf={({ id }) => id}
        empty={backfills.data ? 'There is no backfill.' : 'Loading …'}
        columns={[
          {
            title: 'Backfill',
            cell: ({ backfillId, pipelineName, firstDate, lastDate }) => (
              <Link href={`/queue?backfill=${backfillId}`} aria-current={backfill === backfillId ? 'true' : undefined}>
                {pipelineName}, {firstDate} to {lastDate}
              </Link>
            ),
          },
          { title: 'Status', cell: ({ status }) => <Status value={status} /> },
          {
            title: 'Done',
            numeric: true,
            cell: ({ progress }) => `${String(progress.completed)} of ${String(progress.total)}`,
          },
          { title: 'Failed', numeric: true, cell: ({ progress }) => String(progress.failed) },
          { title: 'By', cell: ({ requestedBy }) => requestedBy },
        ]}
      />
      {backfill !== null && <BackfillView key={backfill} id={backfill} />}
      <Calls
        cli={'flux runs list --status IN_PROGRESS\nflux schedules list\nflux backfills list'}
        sdk={
          "await flux.api.runs({ filter: { status: ['IN_PROGRESS'] } });\nawait flux.api.schedules();\nawait flux.api.backfills();"
        }
        curl={['/runs?status=IN_PROGRESS', '/schedules', '/backfills'].map(restCall).join('\n')}
      />
    </Page>
  );
}
