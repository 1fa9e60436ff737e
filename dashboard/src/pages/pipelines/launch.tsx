import { successOf } from '@flux-etl/sdk';
import { startRunInputFields } from '@flux-etl/sdk/inputs';
import { type FormEvent, useId, useState } from 'react';

import { Calls, quoted, restChange } from '../../components/calls.tsx';
import { InputFields, inputOf, type Typed } from '../../components/input-fields.tsx';
import { Problem } from '../../components/problem.tsx';
import { navigate } from '../../router.tsx';
import { useSession } from '../../use-session.ts';
import { DryRun } from './dry-run.tsx';

/** What the page knows itself, and what another way of starting takes. */
const unasked = ['pipeline', 'payload', 'dryRun', 'idempotencyKey'];
const order = ['stage', 'reason', 'priority', 'metadata'];
/** The form is what the API's input is, what people fill in most first. */
const fields = startRunInputFields
  .filter(({ name }) => !unasked.includes(name))
  .sort((a, b) => (order.indexOf(a.name) >>> 0) - (order.indexOf(b.name) >>> 0));

type Input = Parameters<ReturnType<typeof useSession>['flux']['api']['startRun']>[0];

/** Starts a pipeline. A dry run shows first what would be read, refused and written; it touches nothing. */
export function Launch({ pipeline }: { pipeline: string }) {
  const { flux } = useSession();
  const hint = useId();
  const [typed, setTyped] = useState<Typed>({});
  const [dryRun, setDryRun] = useState<{ runId: string; of: string; over: boolean } | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);

  const given = (): Input => ({ pipeline, ...inputOf(fields, typed) });
  // Why it is started changes nothing of what a dry run shows.
  const asked = JSON.stringify({ ...typed, reason: '' });
  const seen = dryRun?.of === asked && dryRun.over;

  const start = async (dry: boolean): Promise<void> => {
    setBusy(true);
    setError(null);
    try {
      const { runId } = successOf(await flux.api.startRun(dry ? { ...given(), dryRun: true } : given()));
      if (dry) setDryRun({ runId, of: asked, over: false });
      else navigate(`/runs/${runId}`);
    } catch (cause) {
      setError(cause);
    } finally {
      setBusy(false);
    }
  };
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    void start(!seen);
  };
  return (
    <section aria-labelledby="launch-title" className="panel launch">
      <h2 id="launch-title">Start a run</h2>
      <form onSubmit={submit}>
        <InputFields
          fields={fields}
          typed={typed}
          onType={(name, text) => setTyped((before) => ({ ...before, [name]: text }))}
        />
        <p className="usa-hint" id={hint}>
          A dry run reads and checks, and shows what a start would do. It writes nothing.
        </p>
        <div className="dialog-end">
          <button
            type={seen ? 'button' : 'submit'}
            className={seen ? 'usa-button usa-button--outline' : 'usa-button'}
            aria-describedby={hint}
            disabled={busy}
            onClick={seen ? () => void start(true) : undefined}
          >
            Dry run
          </button>
          {seen ? (
            <button type="submit" className="usa-button" disabled={busy}>
              Start
            </button>
          ) : (
            <button
              type="button"
              className="usa-button usa-button--outline"
              disabled={busy}
              onClick={() => void start(false)}
            >
              Start without a dry run
            </button>
          )}
        </div>
      </form>
      <Problem error={error} title="It was not started" />
      {dryRun && dryRun.of !== asked && <p>The dry run below is of another input than the form’s.</p>}
      {dryRun && (
        <DryRun
          key={dryRun.runId}
          runId={dryRun.runId}
          onOver={() => setDryRun((before) => (before ? { ...before, over: true } : null))}
        />
      )}
      <LaunchCalls pipeline={pipeline} typed={typed} />
    </section>
  );
}

function LaunchCalls({ pipeline, typed }: { pipeline: string; typed: Typed }) {
  // What is no JSON yet is told when it is sent.
  const valid = fields.filter((field) => {
    try {
      inputOf([field], typed);
      return true;
    } catch {
      return false;
    }
  });
  const input = { pipeline, ...inputOf(valid, typed) };
  const { stage, priority, reason } = typed;
  const flags = [
    ...(stage ? [`--stage ${stage.toLowerCase()}`] : []),
    ...(priority ? [`--priority ${priority}`] : []),
    ...(reason ? [`--reason ${quoted(reason)}`] : []),
  ];
  return (
    <Calls
      cli={['flux runs start', pipeline, ...flags].join(' ')}
      sdk={`await flux.api.startRun(${JSON.stringify(input)});`}
      curl={restChange('/start-run', input)}
    />
  );
}
