import { type FormEvent, useState } from 'react';

import { Page } from './components/page.tsx';
import { Problem } from './components/problem.tsx';
import { beginSignIn } from './oidc.ts';
import type { DevelopmentIdentity, SignInWays } from './session.ts';

interface SignInProps {
  ways: SignInWays;
  error: unknown;
  busy: boolean;
  onDevelopment: (identity: DevelopmentIdentity) => void;
}

export function SignIn({ ways, error, busy, onDevelopment }: SignInProps) {
  const [failed, setFailed] = useState<unknown>(null);
  return (
    <Page title="Sign in">
      <Problem error={error ?? failed} title="Sign-in failed" />
      {ways.providers.map((provider) => (
        <p key={provider.issuer}>
          <button
            type="button"
            className="usa-button"
            disabled={busy}
            onClick={() => void beginSignIn(provider).catch(setFailed)}
          >
            Sign in with {provider.title ?? provider.issuer}
          </button>
        </p>
      ))}
      {ways.development && <DevelopmentForm {...ways.development} busy={busy} onSubmit={onDevelopment} />}
      {ways.providers.length === 0 && !ways.development && (
        <p>This installation names no identity provider for its dashboard: set FLUX_SIGN_IN.</p>
      )}
    </Page>
  );
}

interface FormProps {
  agencies: readonly string[];
  roles: readonly string[];
  busy: boolean;
  onSubmit: (identity: DevelopmentIdentity) => void;
}

function DevelopmentForm({ agencies, roles, busy, onSubmit }: FormProps) {
  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const [agency, role] = [text(form, 'agency'), text(form, 'role')];
    onSubmit({ agency, role, subject: `${role}@${agency}.example.gov` });
  };
  return (
    <form className="usa-form panel" onSubmit={submit}>
      <h2>Development</h2>
      <p>This machine’s own issuer signs for anyone. It does not exist in production.</p>
      <label className="usa-label" htmlFor="agency">
        Agency
      </label>
      <input
        className="usa-input"
        id="agency"
        name="agency"
        list="agencies"
        required
        pattern="[a-z0-9][a-z0-9\-]{1,62}[a-z0-9]"
        title="A slug such as national-archives"
        defaultValue={agencies[0] ?? ''}
        autoComplete="off"
      />
      <datalist id="agencies">
        {agencies.map((slug) => (
          <option key={slug} value={slug} />
        ))}
      </datalist>
      <fieldset className="usa-fieldset roles">
        <legend className="usa-legend">Role</legend>
        {roles.map((role) => (
          <div className="usa-radio" key={role}>
            <input
              className="usa-radio__input"
              id={`role-${role}`}
              type="radio"
              name="role"
              value={role}
              defaultChecked={role === 'operator'}
            />
            <label className="usa-radio__label" htmlFor={`role-${role}`}>
              {role}
            </label>
          </div>
        ))}
      </fieldset>
      <button className="usa-button" type="submit" disabled={busy}>
        Sign in
      </button>
    </form>
  );
}

function text(form: FormData, name: string): string {
  const value = form.get(name);
  return typeof value === 'string' ? value : '';
}
