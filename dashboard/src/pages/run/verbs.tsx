import { useState } from 'react';

import { type Verb, VerbDialog, verbs } from './verb-dialog.tsx';
import type { Permissions, Run } from './use-run.ts';

const offered = ['cancel', 'resume', 'rerun', 'reprocess', 'replay'] as const;

interface VerbsProps {
  run: Run;
  permissions: Permissions | null;
  onDone: () => void;
}

/** What one may ask of this run now. What one may not is there too, and says why. */
export function Verbs({ run, permissions, onDone }: VerbsProps) {
  const [asked, setAsked] = useState<Verb | null>(null);
  if (!permissions) return null;
  return (
    <div className="verbs" role="group" aria-label="What can be asked of this run">
      {offered.map((verb) => {
        const { allowed, reason } = verb === 'replay' ? { allowed: true, reason: null } : permissions[verb];
        return (
          <span key={verb} className="verb">
            <button
              type="button"
              className={verb === 'cancel' || verb === 'resume' ? 'usa-button' : 'usa-button usa-button--outline'}
              aria-disabled={allowed ? undefined : true}
              aria-describedby={allowed ? undefined : `why-not-${verb}`}
              title={reason ?? undefined}
              onClick={() => allowed && setAsked(verb)}
            >
              {verbs[verb].title}
            </button>
            {!allowed && (
              <span id={`why-not-${verb}`} className="usa-sr-only">
                {reason}
              </span>
            )}
          </span>
        );
      })}
      {asked && (
        <VerbDialog
          verb={asked}
          run={run}
          onClose={() => {
            setAsked(null);
            onDone();
          }}
        />
      )}
    </div>
  );
}
