import { successOf } from '@flux-etl/sdk';
import { startBackfillInputFields } from '@flux-etl/sdk/inputs';
import { type FormEvent, useState } from 'react';

import { Calls, quoted, restChange } from '../../components/calls.tsx';
import { InputFields, inputOf, type Typed } from '../../components/input-fields.tsx';
import { Problem } from '../../components/problem.tsx';
import { navigate } from '../../router.tsx';
import { useSession } from '../../use-session.ts';

const unasked = ['pipeline', 'idempotencyKey'];
const order = ['firstDate', 'lastDate', 'step', 'reason', 'concurrency', 'priority', 'source', 'metadata'];
const fields = startBackfillInputFields
  .filter(({ name }) => !unasked.includes(name))
  .sort((a, b) => (order.indexOf(a.name) >>> 0) - (order.indexOf(b.name) >>> 0));

type Input = Parameters<ReturnType<typeof useSession>['flux']['api']['startBackfill']>[0];

/** One run for each date of a range; offered where a load leaves those of other dates standing. */
export function StartBackfill({ pipeline, definition }: { pipeline: string; definition: unknown }) {
  const { flux } = useSession();
  const [typed, setTyped] = useState<Typed>({});
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  if (modeOf(definition) === 'replace') return null;

  const submit = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      // The form's required fields are there.
      const input = { pipeline, ...inputOf(fields, typed) } as Input;
      const { backfillId } = successOf(await flux.api.startBackfill(input));
      navigate(`/queue?backfill=${backfillId}`);
    } catch (cause) {
      setError(cause);
      setBusy(false);
    }
  };
  const { firstDate = '', lastDate = '', reason = '' } = typed;
  const input = { pipeline, firstDate, lastDate, ...(reason === '' ? {} : { reason }) };
  return (
    <details className="section">
      <summary>
        <h2>Start a backfill</h2>
      </summary>
      <div className="panel launch">
        <p>One run for each date from the first to the last, of a source whose path holds the date.</p>
        <form onSubmit={(event) => void submit(event)}>
          <InputFields
            fields={fields}
            typed={typed}
            kinds={{ firstDate: 'date', lastDate: 'date' }}
            onType={(name, text) => setTyped((before) => ({ ...before, [name]: text }))}
          />
          <div className="dialog-end">
            <button type="submit" className="usa-button" disabled={busy}>
              Start the backfill
            </button>
          </div>
        </form>
        <Problem error={error} title="It was not started" />
        <Calls
          cli={`flux backfills start ${pipeline} --from ${firstDate || 'DATE'} --to ${lastDate || 'DATE'}${reason === '' ? '' : ` --reason ${quoted(reason)}`}`}
          sdk={`await flux.api.startBackfill(${JSON.stringify(input)});`}
          curl={restChange('/start-backfill', input)}
        />
      </div>
    </details>
  );
}

function modeOf(definition: unknown): unknown {
  return (definition as { destination?: { mode?: unknown } } | null)?.destination?.mode;
}
