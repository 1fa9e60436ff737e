import { successOf } from '@flux-etl/sdk';
import { type FormEvent, useState } from 'react';

import { Calls } from '../../components/calls.tsx';
import { Problem } from '../../components/problem.tsx';
import { Status } from '../../components/status.tsx';
import { Table } from '../../components/table.tsx';
import { bytes, count } from '../../format.ts';
import { navigate } from '../../router.tsx';
import { useLoad } from '../../use-load.ts';
import { useSession } from '../../use-session.ts';

const stages = ['FULL', 'INGEST', 'TRANSFORM', 'EXPORT'] as const;
type Stage = (typeof stages)[number];

/** Starts a pipeline. A dry run shows first what would be read, refused and written; it touches nothing. */
export function Launch({ pipeline }: { pipeline: string }) {
  const { flux } = useSession();
  const [stage, setStage] = useState<Stage>('FULL');
  const [reason, setReason] = useState('');
  const [priority, setPriority] = useState(0);
  const [dryRun, setDryRun] = useState<string | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const input = { pipeline, stage, priority, ...(reason === '' ? {} : { reason }) };

  const start = (dry: boolean): void => {
    setBusy(true);
    setError(null);
    flux.api
      .startRun(dry ? { ...input, dryRun: true } : input)
      .then(
        (result) => {
          const { runId } = successOf(result);
          if (dry) setDryRun(runId);
          else navigate(`/runs/${runId}`);
        },
        (cause: unknown) => setError(cause),
      )
      .catch(setError)
      .finally(() => setBusy(false));
  };
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    start(false);
  };
  return (
    <section aria-labelledby="launch-title" className="panel launch">
      <h2 id="launch-title">Start a run</h2>
      <Problem error={error} title="It was not started" />
      <form onSubmit={submit}>
        <label className="usa-label" htmlFor="stage">
          Stage
        </label>
        <select
          className="usa-select"
          id="stage"
          value={stage}
          onChange={(event) => setStage(event.target.value as Stage)}
        >
          {stages.map((one) => (
            <option key={one} value={one}>
              {one.toLowerCase()}
            </option>
          ))}
        </select>
        <label className="usa-label" htmlFor="launch-reason">
          Reason (may be left out)
        </label>
        <input
          className="usa-input"
          id="launch-reason"
          maxLength={2000}
          value={reason}
          onChange={(event) => setReason(event.target.value)}
        />
        <label className="usa-label" htmlFor="priority">
          Priority among the agency’s own runs
        </label>
        <input
          className="usa-input"
          id="priority"
          type="number"
          min={-100}
          max={100}
          value={priority}
          onChange={(event) => setPriority(Number(event.target.value))}
        />
        <div className="dialog-end">
          <button type="button" className="usa-button usa-button--outline" disabled={busy} onClick={() => start(true)}>
            Dry run
          </button>
          <button type="submit" className="usa-button" disabled={busy}>
            Start
          </button>
        </div>
      </form>
      {dryRun !== null && <DryRun key={dryRun} runId={dryRun} />}
      <Calls
        cli={`flux runs start ${pipeline} --stage ${stage.toLowerCase()}`}
        sdk={`await flux.api.startRun(${JSON.stringify(input)});`}
        curl={`curl ${location.origin}/v1/graphql -H 'content-type: application/json' -H "authorization: Bearer $FLUX_TOKEN" \\\n  -d '${JSON.stringify({ query: 'mutation ($input: StartRunInput!) { startRun(input: $input) { __typename ... on Run { id } ... on Error { message } } }', variables: { input } })}'`}
      />
    </section>
  );
}

/** What a dry run found, once it is over. */
function DryRun({ runId }: { runId: string }) {
  const { flux } = useSession();
  const { data, error } = useLoad(runId, async (signal) => {
    for await (const item of flux.runs.watch(runId, { signal })) if (item.__typename === 'StreamEnd') break;
    return flux.api.runDryRunPlan({ id: runId }, { signal });
  });
  if (!data)
    return error ? (
      <Problem error={error} title="The dry run could not be read" />
    ) : (
      <p role="status">The dry run is under way …</p>
    );
  const plan = data.dryRunPlan;
  return (
    <div className="dry-run">
      <h3>Dry run</h3>
      <p>
        <Status value={data.status} /> {data.failure?.message}
      </p>
      {plan && (
        <>
          <p role="status">
            It would read {count(plan.recordsTotal)} records ({bytes(plan.bytesTotal)}) in {plan.partitions.length}{' '}
            partitions, and by the sample write about {count(plan.estimate.recordsWritten)} and reject about{' '}
            {count(plan.estimate.recordsRejected)}.
          </p>
          {plan.destination && !plan.destination.fits && (
            <p>The destination {plan.destination.dataset} does not fit.</p>
          )}
          <Table
            caption="Columns"
            rows={plan.columns}
            keyOf={({ name }) => name}
            columns={[
              { title: 'Column', cell: ({ name }) => name },
              { title: 'Type', cell: ({ type }) => type },
            ]}
          />
        </>
      )}
    </div>
  );
}
