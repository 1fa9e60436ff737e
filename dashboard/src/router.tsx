import { type AnchorHTMLAttributes, type MouseEvent, useCallback, useSyncExternalStore } from 'react';

const moved = 'flux:moved';

function subscribe(listener: () => void): () => void {
  addEventListener('popstate', listener);
  addEventListener(moved, listener);
  return () => {
    removeEventListener('popstate', listener);
    removeEventListener(moved, listener);
  };
}

const address = (): string => location.pathname + location.search;

/** The page's address: its path and its query. */
export function useAddress(): { path: string; query: URLSearchParams } {
  const [path = '/', search = ''] = useSyncExternalStore(subscribe, address).split(/(?=[?])/);
  return { path, query: new URLSearchParams(search) };
}

export function navigate(to: string, options: { replace?: boolean } = {}): void {
  if (to === address()) return;
  history[options.replace === true ? 'replaceState' : 'pushState'](null, '', to);
  dispatchEvent(new Event(moved));
}

/** Query parameters as state: what is empty is left out of the address. */
export function useQuery(): [URLSearchParams, (changes: Record<string, string>) => void] {
  const { query } = useAddress();
  const change = useCallback((changes: Record<string, string>) => {
    const next = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(changes)) {
      if (value === '') next.delete(name);
      else next.set(name, value);
    }
    const text = next.toString();
    navigate(location.pathname + (text === '' ? '' : `?${text}`), { replace: true });
  }, []);
  return [query, change];
}

/** A link inside the dashboard: an address as any other, that does not load the page anew. */
export function Link({ href, onClick, ...rest }: AnchorHTMLAttributes<HTMLAnchorElement> & { href: string }) {
  const follow = (event: MouseEvent<HTMLAnchorElement>): void => {
    onClick?.(event);
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    navigate(href);
    scrollTo(0, 0);
  };
  return <a {...rest} href={href} onClick={follow} />;
}
