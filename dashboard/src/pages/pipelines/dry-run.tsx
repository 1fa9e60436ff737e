import { useEffect, useRef } from 'react';

import { Icon } from '../../components/icon.tsx';
import { Problem } from '../../components/problem.tsx';
import { Status } from '../../components/status.tsx';
import { Table } from '../../components/table.tsx';
import { bytes, count } from '../../format.ts';
import { useLoad } from '../../use-load.ts';
import { useSession } from '../../use-session.ts';

/** What a dry run found, once it is over. */
export function DryRun({ runId, onOver }: { runId: string; onOver: () => void }) {
  const { flux } = useSession();
  const { data, error } = useLoad(runId, async (signal) => {
    for await (const item of flux.runs.watch(runId, { signal })) if (item.__typename === 'StreamEnd') break;
    return flux.api.dryRun({ id: runId }, { signal });
  });
  const tell = useRef(onOver);
  useEffect(() => {
    tell.current = onOver;
  });
  const over = data !== undefined;
  useEffect(() => {
    if (over) tell.current();
  }, [over]);
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
            {plan.partitions.length === 1 ? 'partition' : 'partitions'}, and by the sample write about{' '}
            {count(plan.estimate.recordsWritten)} and reject about {count(plan.estimate.recordsRejected)}.
          </p>
          {plan.destination && <Destination {...plan.destination} />}
          {plan.sample && plan.sample.findings.length > 0 && (
            <Table
              caption={`What the ${count(plan.sample.recordsRead)} records of the sample break`}
              showCaption
              rows={plan.sample.findings}
              keyOf={({ path, rule }) => `${path} ${rule}`}
              columns={[
                { title: 'Path', cell: ({ path }) => <code>{path}</code> },
                { title: 'Rule', cell: ({ rule }) => rule },
                { title: 'Records', numeric: true, cell: ({ count: found }) => count(found) },
                { title: 'First', numeric: true, cell: ({ recordNo }) => count(recordNo) },
              ]}
            />
          )}
          {typeof plan.sample?.places === 'number' && plan.sample.lastRecord !== null && (
            <p>
              Looked at {count(plan.sample.recordsRead)} records in {count(plan.sample.places)}{' '}
              {plan.sample.places === 1 ? 'place' : 'places'}, from record {count(plan.sample.firstRecord)} to{' '}
              {count(plan.sample.lastRecord)}; at most {count(plan.sample.widestGap)} beside each other were left out.
            </p>
          )}
          {plan.sample?.personalData.map(({ column, kind, matches, checked }) => (
            <p key={`${column} ${kind}`}>
              <Icon name="warning" /> Column <code>{column}</code> looks like {kind}: {count(matches)} of{' '}
              {count(checked)} values.
            </p>
          ))}
          <Table
            caption="Columns of the output"
            showCaption
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

interface DestinationProps {
  dataset: string;
  mode: string;
  exists: boolean;
  fits: boolean;
}

function Destination({ dataset, mode, exists, fits }: DestinationProps) {
  return (
    <p className={fits ? 'status status--good' : 'status status--bad'}>
      <Icon name={fits ? 'check' : 'cross'} />
      {exists
        ? `Dataset ${dataset} ${fits ? 'takes these columns' : 'has other columns: a run would fail'} (${mode})`
        : `Dataset ${dataset} would be made (${mode})`}
    </p>
  );
}
