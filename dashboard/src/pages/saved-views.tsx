import { useState } from 'react';

import { Link } from '../router.tsx';

const key = 'flux.views';

/** Addresses by name, kept in this browser. They hold no data: whoever opens one asks the API. */
export function SavedViews() {
  const [views, setViews] = useState<Record<string, string>>(
    () => JSON.parse(localStorage.getItem(key) ?? '{}') as Record<string, string>,
  );
  const keep = (next: Record<string, string>): void => {
    localStorage.setItem(key, JSON.stringify(next));
    setViews(next);
  };
  const save = (form: FormData): void => {
    const name = form.get('view');
    if (typeof name === 'string' && name.trim() !== '') keep({ ...views, [name.trim()]: location.search });
  };
  return (
    <details className="views">
      <summary>Views</summary>
      <div className="views-body">
        <ul>
          {Object.entries(views).map(([name, search]) => (
            <li key={name}>
              <Link href={`/runs${search}`}>{name}</Link>{' '}
              <button
                type="button"
                className="usa-button usa-button--unstyled"
                onClick={() => keep(Object.fromEntries(Object.entries(views).filter(([other]) => other !== name)))}
              >
                remove<span className="usa-sr-only"> {name}</span>
              </button>
            </li>
          ))}
        </ul>
        <form action={save}>
          <label className="usa-label" htmlFor="view">
            Save this filter as
          </label>
          <input className="usa-input" id="view" name="view" required maxLength={40} />
          <button type="submit" className="usa-button">
            Save
          </button>
        </form>
      </div>
    </details>
  );
}
