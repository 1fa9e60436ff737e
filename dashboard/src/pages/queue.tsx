import { Page } from '../components/page.tsx';
import { Problem } from '../components/problem.tsx';
import { Status } from '../components/status.tsx';
import { Table } from '../components/table.tsx';
import { count, moment, words } from '../format.ts';
import { Link } from '../router.tsx';
import { useLoad } from '../use-load.ts';
import { useSession } from '../use-session.ts';

/** What works and what waits: held partitions, waiting runs with their reasons, schedules, backfills. */
export default function QueuePage() {
  const { flux } = useSession();
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
  const schedules = useLoad('schedules', (signal) => flux.api.schedules({ first: 50 }, { signal }));
  const backfills = useLoad('backfills', (signal) => flux.api.backfills({ first: 20 }, { signal }));
  const reload = (): void => [held, waiting, schedules, backfills].forEach((one) => one.reload());
  return (
    <Page
      title="Workers and queue"
      aside={
        <button type="button" className="usa-button usa-button--outline" onClick={reload}>
          Read again
        </button>
      }
    >
      <Problem error={held.error ?? waiting.error ?? schedules.error ?? backfills.error} />
      <h2>Held by workers</h2>
      <Table
        caption="Partitions that a worker holds now"
        rows={held.data ?? []}
        keyOf={({ run, partition }) => `${run.runId} ${partition.stage} ${String(partition.partitionNo)}`}
        empty="No worker holds a partition of this agency."
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
        ]}
      />
      <h2>Waiting</h2>
      <Table
        caption="Runs that wait"
        rows={waiting.data?.edges.map(({ node }) => node) ?? []}
        keyOf={({ id }) => id}
        empty="Nothing waits."
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
      <h2>Schedules</h2>
      <Table
        caption="Schedules"
        rows={schedules.data?.edges.map(({ node }) => node) ?? []}
        keyOf={({ id }) => id}
        empty="There is no schedule: flux schedules create."
        columns={[
          { title: 'Schedule', cell: ({ name }) => name },
          {
            title: 'Pipeline',
            cell: ({ pipelineName }) => <Link href={`/pipelines/${pipelineName}`}>{pipelineName}</Link>,
          },
          { title: 'Status', cell: ({ status }) => <Status value={status} /> },
          { title: 'When', cell: ({ cron, timeZone }) => `${cron} (${timeZone})` },
          { title: 'Next', cell: ({ nextTickAt }) => moment(nextTickAt) },
          { title: 'Overlap', cell: ({ overlap }) => words(overlap) },
        ]}
      />
      <h2>Backfills</h2>
      <Table
        caption="Backfills"
        rows={backfills.data?.edges.map(({ node }) => node) ?? []}
        keyOf={({ id }) => id}
        empty="There is no backfill."
        columns={[
          { title: 'Pipeline', cell: ({ pipelineName }) => pipelineName },
          { title: 'Status', cell: ({ status }) => <Status value={status} /> },
          { title: 'Dates', cell: ({ firstDate, lastDate }) => `${firstDate} to ${lastDate}` },
          {
            title: 'Done',
            numeric: true,
            cell: ({ progress }) => `${String(progress.completed)} of ${String(progress.total)}`,
          },
          { title: 'Failed', numeric: true, cell: ({ progress }) => String(progress.failed) },
          { title: 'By', cell: ({ requestedBy }) => requestedBy },
        ]}
      />
    </Page>
  );
}
