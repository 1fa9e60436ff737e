import { isFluxError } from '@flux-etl/sdk';

/** What went wrong, in the API's words, with its code and the id under which it is in the log. */
export function Problem({ error, title = 'This did not work' }: { error: unknown; title?: string }) {
  if (error === undefined || error === null) return null;
  const message = error instanceof Error ? error.message : 'The reason is not known.';
  return (
    <div className="usa-alert usa-alert--error usa-alert--slim" role="alert">
      <div className="usa-alert__body">
        <p className="usa-alert__text">
          <strong>{title}:</strong> {message}
          {isFluxError(error) && (
            <>
              {' '}
              <code>{error.code}</code>
            </>
          )}
        </p>
      </div>
    </div>
  );
}
