/** The end of a dialog's form: what it does, and the way out. */
export function DialogEnd({ does, busy, onClose }: { does: string; busy: boolean; onClose: () => void }) {
  return (
    <div className="dialog-end">
      <button type="submit" className="usa-button" disabled={busy}>
        {does}
      </button>
      <button type="button" className="usa-button usa-button--outline" onClick={onClose}>
        Close
      </button>
    </div>
  );
}
