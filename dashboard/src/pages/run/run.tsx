import { useEffect, useState } from 'react';

import { Calls } from '../../components/calls.tsx';
import { Fact } from '../../components/fact.tsx';
import { Page } from '../../components/page.tsx';
import { Problem } from '../../components/problem.tsx';
import { Status } from '../../components/status.tsx';
import { count, duration, moment, words } from '../../format.ts';
import { Link } from '../../router.tsx';
import { useNow } from '../../use-load.ts';
import { CheckpointsPanel } from './checkpoints.tsx';
import { EventLogView } from './event-log.tsx';
import { Gantt } from './gantt.tsx';
import { Lineage } from './lineage.tsx';
import { ReconciliationPanel } from './reconciliation.tsx';
import { RejectedPanel } from './rejected.tsx';
import { Throughput } from './throughput.tsx';
import { useEventLog } from './use-event-log.ts';
import { useMarks } from './use-marks.ts';
import { type LoadedRun, type Run, useRun } from './use-run.ts';
import { Verbs } from './verbs.tsx';

/** One run: what it is doing now, whether it adds up, everything that happened, and what can be asked of it. */
export default function RunPage({ id }: { id: string }) {
  const loaded = useRun(id);
  const { run, missing, error } = loaded;
  if (missing) {
    return (
      <Page title="There is no such run">
        <p>
          Not for this caller. <Link href="/runs">All runs</Link>
        </p>
      </Page>
    );
  }
  if (!run)
    return error ? <Problem error={error} title="The run could not be read" /> : <p className="loading">Loading …</p>;
  return <Shown run={run} loaded={loaded} />;
}

function Shown({ run, loaded }: { run: Run; loaded: LoadedRun }) {
  const { permissions, refresh, error } = loaded;
  const now = useNow(1_000, !run.isTerminal);
  const log = useEventLog(run.runId, run.attempt, refresh);
  const marks = useMarks(log.events);
  const { ended } = log;
  useEffect(() => {
    if (ended) refresh();
  }, [ended, refresh]);
  return (
    <Page
      title={`${run.pipeline?.name ?? 'Run'} ${run.runId}`}
      aside={<Verbs run={run} permissions={permissions} onDone={refresh} />}
    >
      <p className="run-state">
        <Status value={run.status} /> {run.dryRun && <span className="usa-tag">dry run</span>}
        <Announcement text={`This run is ${words(run.status)}.`} />
      </p>
      <Problem error={error} title="The run could not be read again" />
      {run.failure && (
        <div className="usa-alert usa-alert--error" role="group" aria-label="Failure">
          <div className="usa-alert__body">
            <h2 className="usa-alert__heading">{run.failure.code}</h2>
            <p className="usa-alert__text">
              {run.failure.message} ({words(run.failure.class)})
            </p>
          </div>
        </div>
      )}
      {run.waitingReason && <p className="reason">{run.waitingReason.message}</p>}
      <dl className="facts">
        <Fact name="Stage" value={words(run.stage)} />
        <Fact name="Use case" value={words(run.useCase)} />
        <Fact name="Classification" value={run.classification} />
        <Fact name="Attempt" value={String(run.attempt)} />
        <Fact name="Asked for" value={`${moment(run.createdAt)} by ${run.requestedBy}`} />
        <Fact
          name="Waited"
          value={run.startedAt ? duration(Date.parse(run.startedAt) - Date.parse(run.createdAt)) : '–'}
        />
        <Fact
          name="Took"
          value={
            run.startedAt
              ? duration((run.finishedAt ? Date.parse(run.finishedAt) : now) - Date.parse(run.startedAt))
              : '–'
          }
        />
        {run.reason && <Fact name="Reason" value={run.reason} />}
        {run.load && (
          <Fact
            name="Dataset"
            value={
              <>
                <Link href={`/data/${run.load.dataset}`}>{run.load.dataset}</Link>
                {`, load ${run.load.loadNo} (${words(run.load.mode)}), ${words(run.load.status)}${typeof run.load.recordCount === 'string' ? `, ${count(run.load.recordCount)} records` : ''}`}
              </>
            }
          />
        )}
      </dl>
      <Throughput runId={run.runId} attempt={run.attempt} now={now} />
      <ReconciliationPanel run={run} />
      <Gantt run={run} now={now} marks={marks} />
      <EventLogView runId={run.runId} log={log} />
      <CheckpointsPanel run={run} permissions={permissions} />
      <RejectedPanel run={run} permissions={permissions} onDone={refresh} />
      <Lineage run={run} />
      <Calls
        cli={`flux runs watch ${run.runId}`}
        sdk={`for await (const item of flux.runs.watch('${run.runId}')) console.log(item);`}
        curl={`curl -N ${location.origin}/v1/graphql -H 'accept: text/event-stream' -H 'content-type: application/json' -H "authorization: Bearer $FLUX_TOKEN" \\\n  -d '{"query":"subscription { runEvents(runId: \\"${run.runId}\\") { __typename ... on RunEvent { seq name message } } }"}'`}
      />
    </Page>
  );
}

/** Read out when it changes, and not when the page opens. */
function Announcement({ text }: { text: string }) {
  const [first] = useState(text);
  return (
    <span className="usa-sr-only" role="status">
      {text === first ? '' : text}
    </span>
  );
}
