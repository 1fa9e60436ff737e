import { Calls, quoted, restCall } from '../components/calls.tsx';
import { type Column, Table } from '../components/table.tsx';
import { DurationScatter } from '../components/duration-scatter.tsx';
import { Page } from '../components/page.tsx';
import { Problem } from '../components/problem.tsx';
import { ProgressBar } from '../components/progress-bar.tsx';
import { Status } from '../components/status.tsx';
import { count, duration, moment, shortId, words } from '../format.ts';
import { Link, useQuery } from '../router.tsx';
import { useNow } from '../use-load.ts';
import { SavedViews } from './saved-views.tsx';
import { type ListedRun, type RunFilter, useRunList } from './use-run-list.ts';

const statuses = ['PENDING', 'IN_PROGRESS', 'COMPLETED', 'FAILED', 'CANCELLING', 'CANCELLED'] as const;

/** The agency's runs, live. The filter is the address, so a link is a view. */
export function RunsPage() {
  const [query, change] = useQuery();
  const filter = filterOf(query);
  const list = useRunList(filter);
  return (
    <Page title="Runs" aside={<SavedViews />}>
      <form className="filters" role="search" aria-label="Filter runs" onSubmit={(event) => event.preventDefault()}>
        <div>
          <label className="usa-label" htmlFor="status">
            Status
          </label>
          <select
            className="usa-select"
            id="status"
            value={query.get('status') ?? ''}
            onChange={(event) => change({ status: event.target.value })}
          >
            <option value="">all</option>
            {statuses.map((status) => (
              <option key={status} value={status}>
                {words(status)}
              </option>
            ))}
          </select>
        </div>
        <div>
          <label className="usa-label" htmlFor="pipeline">
            Pipeline
          </label>
          <input
            className="usa-input"
            id="pipeline"
            type="search"
            placeholder="exact name"
            value={query.get('pipeline') ?? ''}
            onChange={(event) => change({ pipeline: event.target.value.trim() })}
          />
        </div>
        <div>
          <label className="usa-label" htmlFor="since">
            Asked for since
          </label>
          <input
            className="usa-input"
            id="since"
            type="date"
            value={query.get('since') ?? ''}
            onChange={(event) => change({ since: event.target.value })}
          />
        </div>
      </form>
      <Problem error={list.error} title="The list could not be read" />
      <DurationScatter runs={list.runs} />
      {list.loading && list.runs.length === 0 ? (
        <p className="loading">Loading …</p>
      ) : (
        <Table
          caption="Runs, the newest first"
          columns={columns}
          rows={list.runs}
          keyOf={({ id }) => id}
          empty="No run fits. Start one on its pipeline’s page, or with flux runs start."
        />
      )}
      {list.hasMore && (
        <button type="button" className="usa-button usa-button--outline" onClick={list.loadMore}>
          Older runs
        </button>
      )}
      <Calls {...callsOf(filter)} />
    </Page>
  );
}

function callsOf(filter: RunFilter) {
  const { status, pipeline, createdAfter } = filter;
  const parameters = Object.entries({ status: status?.[0], pipeline, createdAfter, first: '50' });
  const query = new URLSearchParams(parameters.flatMap(([name, value]) => (value ? [[name, value]] : [])));
  const flags = [
    ...(pipeline ? [`--pipeline ${quoted(pipeline)}`] : []),
    ...(status?.[0] ? [`--status ${status[0]}`] : []),
    '--first 50',
  ];
  return {
    cli: `flux runs list ${flags.join(' ')}`,
    sdk: `for await (const change of flux.runs.changes(${JSON.stringify({ filter })})) console.log(change.run);`,
    curl: restCall(`/runs?${query.toString()}`),
  };
}

function filterOf(query: URLSearchParams): RunFilter {
  const status = statuses.find((one) => one === query.get('status'));
  const pipeline = query.get('pipeline');
  const since = query.get('since');
  return {
    ...(status ? { status: [status] } : {}),
    ...(pipeline ? { pipeline } : {}),
    ...(since && !Number.isNaN(Date.parse(since)) ? { createdAfter: new Date(since).toISOString() } : {}),
  };
}

const columns: readonly Column<ListedRun>[] = [
  {
    title: 'Run',
    cell: (run) => (
      <Link href={`/runs/${run.runId}`}>
        {run.pipeline?.name ?? 'run'} <span className="id">{shortId(run.runId)}</span>
      </Link>
    ),
  },
  {
    title: 'Status',
    cell: (run) => (
      <>
        <Status value={run.status} />
        {run.dryRun && <span className="usa-tag">dry run</span>}
      </>
    ),
  },
  { title: 'Progress', cell: (run) => <ProgressBar run={run} /> },
  { title: 'Read', numeric: true, cell: ({ progress }) => count(progress?.recordsRead) },
  { title: 'Rejected', numeric: true, cell: ({ progress }) => count(progress?.recordsRejected) },
  { title: 'Took', numeric: true, cell: (run) => <Took run={run} /> },
  { title: 'Asked for', cell: (run) => moment(run.createdAt) },
  { title: 'By', cell: (run) => run.requestedBy },
];

/** Goes on by itself, so that the row need not be drawn for it. */
function Took({ run: { startedAt, finishedAt, isTerminal } }: { run: ListedRun }) {
  const now = useNow(1_000, !isTerminal && typeof startedAt === 'string');
  if (!startedAt) return '–';
  return duration((finishedAt ? Date.parse(finishedAt) : now) - Date.parse(startedAt));
}
