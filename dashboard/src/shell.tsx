import type { ConnectionState } from '@flux-etl/sdk';
import type { ReactNode } from 'react';

import { Connection } from './components/connection.tsx';
import { Link, useAddress } from './router.tsx';
import { pages } from './routes.tsx';
import type { Session } from './session.ts';

interface ShellProps {
  session: Session | null;
  connection: ConnectionState | null;
  onLeave: () => void;
  children: ReactNode;
}

/** What stands around every page: skip link, navigation, the connection's state, who is signed in. */
export function Shell({ session, connection, onLeave, children }: ShellProps) {
  const { path } = useAddress();
  return (
    <>
      <a className="usa-skipnav" href="#main">
        Skip to main content
      </a>
      <header className="shell-head">
        <div className="shell-bar">
          <Link className="brand" href="/">
            Flux
          </Link>
          {session && (
            <nav aria-label="Pages">
              <ul>
                {pages
                  .filter(({ scope }) => scope === undefined || session.may(scope))
                  .map(({ href, title }) => (
                    <li key={href}>
                      <Link href={href} aria-current={isAt(path, href) ? 'page' : undefined}>
                        {title}
                      </Link>
                    </li>
                  ))}
              </ul>
            </nav>
          )}
          {session && (
            <div className="who">
              <Connection state={connection} />
              <span className="who-name">
                <strong>{session.viewer.agency}</strong> {session.viewer.subject} ({session.viewer.role.toLowerCase()})
              </span>
              <button type="button" className="usa-button usa-button--outline usa-button--inverse" onClick={onLeave}>
                Sign out
              </button>
            </div>
          )}
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        {children}
      </main>
    </>
  );
}

function isAt(path: string, href: string): boolean {
  return path === href || path.startsWith(`${href}/`) || (path === '/' && href === '/runs');
}
