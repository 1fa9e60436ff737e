import { successOf } from '@flux-etl/sdk';
import { type FormEvent, type ReactNode, useId, useState } from 'react';

import { Dialog } from './dialog.tsx';
import { DialogEnd } from './dialog-end.tsx';
import { Problem } from './problem.tsx';

interface ReasonDialogProps<Result extends { __typename: string }> {
  title: string;
  says: ReactNode;
  perform: (reason: string) => Promise<Result>;
  onClose: () => void;
}

/** Says what will be done, asks why, and does it. */
export function ReasonDialog<Result extends { __typename: string }>({
  title,
  says,
  perform,
  onClose,
}: ReasonDialogProps<Result>) {
  const id = useId();
  const [reason, setReason] = useState('');
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      successOf(await perform(reason));
      onClose();
    } catch (cause) {
      setError(cause);
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <p>{says}</p>
      <Problem error={error} title="It was refused" />
      <form onSubmit={(event) => void submit(event)}>
        <label className="usa-label" htmlFor={id}>
          Reason
        </label>
        <textarea
          className="usa-textarea"
          id={id}
          required
          maxLength={2000}
          value={reason}
          onChange={(event) => setReason(event.target.value)}
        />
        <DialogEnd does={title} busy={busy} onClose={onClose} />
      </form>
    </Dialog>
  );
}
