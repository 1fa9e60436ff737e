import { type ComponentType, useEffect, useState } from 'react';

import { Problem } from './components/problem.tsx';

type Shown = ComponentType<{ id: string }>;

/**
 * A page whose code is fetched when it is first shown. React's `lazy` leaves what stands in its place for 300 ms, however soon the code
 * is there: nearly a third of the time in which a page is to be ready.
 */
export function lazyPage(load: () => Promise<{ default: Shown }>): Shown {
  let loaded: Shown | null = null;
  return function LazyPage({ id }) {
    const [Page, setPage] = useState<Shown | null>(() => loaded);
    const [error, setError] = useState<unknown>(null);
    useEffect(() => {
      if (Page !== null) return;
      let wanted = true;
      load().then(
        ({ default: found }) => {
          loaded = found;
          if (wanted) setPage(() => found);
        },
        (cause: unknown) => {
          if (wanted) setError(cause);
        },
      );
      return () => {
        wanted = false;
      };
    }, [Page]);
    if (Page !== null) return <Page id={id} />;
    if (error !== null) return <Problem error={error} title="The page’s code cannot be loaded. Load the page anew" />;
    return <p className="loading">Loading …</p>;
  };
}
