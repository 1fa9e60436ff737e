import { useState } from 'react';

import { Problem } from '../../components/problem.tsx';
import { ReasonDialog } from '../../components/reason-dialog.tsx';
import { Status } from '../../components/status.tsx';
import { Table } from '../../components/table.tsx';
import { moment, words } from '../../format.ts';
import { Link } from '../../router.tsx';
import { useLoad } from '../../use-load.ts';
import { useSession } from '../../use-session.ts';

/** What starts by itself, when next, and the way to stop it for a while. */
export function Schedules({ round }: { round: number }) {
  const { flux, may } = useSession();
  const [asked, setAsked] = useState<{ verb: 'pause' | 'resume'; name: string } | null>(null);
  const { data, error, reload } = useLoad(
    'schedules',
    (signal) => flux.api.schedules({ first: 50 }, { signal }),
    String(round),
  );
  const allowed = may('schedule:write');
  return (
    <>
      <h2>Schedules</h2>
      <Problem error={error} title="The schedules could not be read" />
      <Table
        caption="Schedules"
        rows={data?.edges.map(({ node }) => node) ?? []}
        keyOf={({ id }) => id}
        empty={data ? 'There is no schedule: flux schedules create.' : 'Loading …'}
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
          {
            title: 'Change',
            cell: ({ name, status }) =>
              allowed && status !== 'REMOVED' ? (
                <button
                  type="button"
                  className="usa-button usa-button--unstyled"
                  onClick={() => setAsked({ verb: status === 'PAUSED' ? 'resume' : 'pause', name })}
                >
                  {status === 'PAUSED' ? 'resume' : 'pause'}
                  <span className="usa-sr-only"> {name}</span>
                </button>
              ) : (
                '–'
              ),
          },
        ]}
      />
      {asked && (
        <ReasonDialog
          title={asked.verb === 'pause' ? `Pause ${asked.name}` : `Resume ${asked.name}`}
          says={
            asked.verb === 'pause'
              ? 'It starts nothing until it is resumed.'
              : 'It goes on with its next tick from now.'
          }
          perform={(reason) =>
            asked.verb === 'pause'
              ? flux.api.pauseSchedule({ name: asked.name, reason })
              : flux.api.resumeSchedule({ name: asked.name, reason })
          }
          onClose={() => {
            setAsked(null);
            reload();
          }}
        />
      )}
    </>
  );
}
