import { type Flux, successOf } from '@flux-etl/sdk';
import { type FormEvent, useState } from 'react';

import { Calls, quoted, restChange } from '../../components/calls.tsx';
import { Dialog } from '../../components/dialog.tsx';
import { DialogEnd } from '../../components/dialog-end.tsx';
import { Problem } from '../../components/problem.tsx';
import { Table } from '../../components/table.tsx';
import { count, words } from '../../format.ts';
import { navigate } from '../../router.tsx';
import { useLoad } from '../../use-load.ts';
import { useSession } from '../../use-session.ts';
import type { Run } from './use-run.ts';

export type Verb = 'cancel' | 'resume' | 'rerun' | 'fork' | 'reprocess' | 'replay';

interface Asked {
  runId: string;
  checkpointId: string;
  reason: string;
}

/** What came of it: the run to show, or a sentence. */
type Outcome = { runId: string } | { said: string };

interface VerbText {
  title: string;
  says: string;
  reasonRequired: boolean;
  do: (flux: Flux, asked: Asked) => Promise<Outcome>;
  cli: (asked: Asked) => string;
  sdk: (asked: Asked) => string;
  curl: (asked: Asked) => string;
}

const whyOf = ({ reason }: Asked): string => (reason === '' ? 'why' : reason);
/** A verb's command: `flux runs cancel ID --reason WHY`. */
const cliOf =
  (verb: string) =>
  (asked: Asked): string =>
    `flux runs ${verb} ${asked.checkpointId || asked.runId} --reason ${quoted(whyOf(asked))}`;
const inputOf = (asked: Asked) => ({
  ...(asked.checkpointId === '' ? { runId: asked.runId } : { checkpointId: asked.checkpointId }),
  reason: whyOf(asked),
});
const sdkOf =
  (method: string) =>
  (asked: Asked): string =>
    `await flux.api.${method}(${JSON.stringify(inputOf(asked))});`;
const curlOf =
  (path: string) =>
  (asked: Asked): string =>
    restChange(path, inputOf(asked));

export const verbs: Readonly<Record<Verb, VerbText>> = {
  cancel: {
    title: 'Cancel',
    says: 'No batch commits from now on. It is cancelled when its workers have acknowledged, after 30 seconds by force. What is committed stays, and the run can be resumed.',
    reasonRequired: true,
    do: async (flux, { runId, reason }) => successOf(await flux.api.cancelRun({ runId, reason })),
    cli: cliOf('cancel'),
    sdk: sdkOf('cancelRun'),
    curl: curlOf('/cancel-run'),
  },
  resume: {
    title: 'Resume',
    says: 'The next attempt goes on from the last checkpoints that verify.',
    reasonRequired: true,
    do: async (flux, { runId, reason }) => successOf(await flux.api.resumeRun({ runId, reason })),
    cli: cliOf('resume'),
    sdk: sdkOf('resumeRun'),
    curl: curlOf('/resume-run'),
  },
  rerun: {
    title: 'Rerun',
    says: 'A new run with the same request and the very bytes that this one pinned. All of the work is done again.',
    reasonRequired: false,
    do: async (flux, { runId, reason }) => successOf(await flux.api.rerunRun({ runId, ...given(reason) })),
    cli: cliOf('rerun'),
    sdk: sdkOf('rerunRun'),
    curl: curlOf('/rerun-run'),
  },
  fork: {
    title: 'Fork',
    says: 'A new run that takes over what was committed when the checkpoint was saved, and does the rest anew.',
    reasonRequired: true,
    do: async (flux, { checkpointId, reason }) => successOf(await flux.api.forkRun({ checkpointId, reason })),
    cli: cliOf('fork'),
    sdk: sdkOf('forkRun'),
    curl: curlOf('/fork-run'),
  },
  reprocess: {
    title: 'Reprocess rejected',
    says: 'A new run puts the rejected records through the pipeline’s current version again.',
    reasonRequired: true,
    do: async (flux, { runId, reason }) => successOf(await flux.api.reprocessRejected({ runId, reason })),
    cli: cliOf('reprocess'),
    sdk: sdkOf('reprocessRejected'),
    curl: curlOf('/reprocess-rejected'),
  },
  replay: {
    title: 'Replay',
    says: 'Derives the run’s state from its events alone and compares it with the stored one, by hash. It changes nothing but the audit log.',
    reasonRequired: false,
    do: async (flux, { runId }) => {
      const { matches, eventCount, differences } = successOf(await flux.api.replayRun({ runId }));
      const found = matches ? 'give exactly the state that is stored' : `give another state: ${differences.join('; ')}`;
      return { said: `${count(eventCount)} events ${found}.` };
    },
    cli: ({ runId }) => `flux runs replay ${runId}`,
    sdk: ({ runId }) => `await flux.api.replayRun({ runId: '${runId}' });`,
    curl: ({ runId }) => restChange('/replay-run', { runId }),
  },
};

interface VerbDialogProps {
  verb: Verb;
  run: Run;
  checkpointId?: string;
  onClose: () => void;
}

/** Says what a verb does, asks why, does it, and shows the equal calls of the command line and the SDK. */
export function VerbDialog({ verb, run, checkpointId = '', onClose }: VerbDialogProps) {
  const { flux } = useSession();
  const [reason, setReason] = useState('');
  const [error, setError] = useState<unknown>(null);
  const [said, setSaid] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const { title, says, reasonRequired, do: perform, cli, sdk, curl } = verbs[verb];
  const asked = { runId: run.runId, checkpointId, reason };
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    perform(flux, asked)
      .then(
        (outcome) => {
          if ('said' in outcome) return setSaid(outcome.said);
          onClose();
          if (outcome.runId !== run.runId) navigate(`/runs/${outcome.runId}`);
        },
        (cause: unknown) => setError(cause),
      )
      .finally(() => setBusy(false));
  };
  return (
    <Dialog title={`${title}: ${run.pipeline?.name ?? 'run'}`} onClose={onClose}>
      <p>{says}</p>
      {verb === 'resume' && <ResumePlan run={run} />}
      <Problem error={error} title={`${title} was refused`} />
      {said !== null && <p role="status">{said}</p>}
      <form onSubmit={submit}>
        {verb !== 'replay' && (
          <>
            <label className="usa-label" htmlFor="reason">
              Reason{reasonRequired ? '' : ' (may be left out)'}
            </label>
            <span className="usa-hint" id="reason-hint">
              Kept in the run’s history and in the audit log.
            </span>
            <textarea
              className="usa-textarea"
              id="reason"
              aria-describedby="reason-hint"
              required={reasonRequired}
              maxLength={2000}
              value={reason}
              onChange={(event) => setReason(event.target.value)}
            />
          </>
        )}
        <DialogEnd does={title} busy={busy} onClose={onClose} />
      </form>
      <Calls cli={cli(asked)} sdk={sdk(asked)} curl={curl(asked)} />
    </Dialog>
  );
}

/** What a resume would keep and what it would do again. */
function ResumePlan({ run }: { run: Run }) {
  const { flux } = useSession();
  const { data, error } = useLoad(run.runId, (signal) => flux.api.resumePlan({ id: run.runId }, { signal }));
  const plan = data?.resumePlan;
  if (!plan) return <Problem error={error} title="The plan could not be read" />;
  return (
    <Table
      caption={`Plan of attempt ${String(plan.attempt)}`}
      showCaption
      rows={plan.partitions}
      keyOf={({ partitionNo, kind }) => `${kind} ${String(partitionNo)}`}
      columns={[
        { title: 'Partition', cell: ({ kind, partitionNo }) => `${words(kind)} ${String(partitionNo)}` },
        { title: 'What happens', cell: ({ disposition }) => words(disposition) },
        { title: 'Records kept', numeric: true, cell: ({ recordsKept }) => count(recordsKept) },
        {
          title: 'From checkpoint',
          numeric: true,
          cell: ({ checkpoint }) => (checkpoint ? `v${String(checkpoint.version)}` : '–'),
        },
      ]}
    />
  );
}

function given(reason: string): { reason?: string } {
  return reason === '' ? {} : { reason };
}
