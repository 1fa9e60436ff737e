import type { ComponentType } from 'react';

import { Page } from './components/page.tsx';
import { lazyPage } from './lazy-page.tsx';
import { RunsPage } from './pages/runs.tsx';
import { Link, useAddress } from './router.tsx';

const RunPage = lazyPage(() => import('./pages/run/run.tsx'));
const PipelinesPage = lazyPage(() => import('./pages/pipelines/pipelines.tsx'));
const ContractsPage = lazyPage(() => import('./pages/contracts.tsx'));
const DataPage = lazyPage(() => import('./pages/data.tsx'));
const QueuePage = lazyPage(() => import('./pages/queue/queue.tsx'));
const AuditPage = lazyPage(() => import('./pages/audit.tsx'));

/** What the navigation offers; a page under a scope is shown to those who hold it. */
export const pages: readonly { href: string; title: string; scope?: string }[] = [
  { href: '/runs', title: 'Runs' },
  { href: '/pipelines', title: 'Pipelines' },
  { href: '/contracts', title: 'Contracts' },
  { href: '/data', title: 'Data' },
  { href: '/queue', title: 'Workers and queue' },
  { href: '/audit', title: 'Audit', scope: 'audit:read' },
];

const routes: readonly [pattern: RegExp, page: ComponentType<{ id: string }>][] = [
  [/^\/(?:runs)?$/, RunsPage],
  [/^\/runs\/([^/]+)$/, RunPage],
  [/^\/pipelines(?:\/([^/]+))?$/, PipelinesPage],
  [/^\/contracts(?:\/([^/]+))?$/, ContractsPage],
  [/^\/data(?:\/([^/]+))?$/, DataPage],
  [/^\/queue$/, QueuePage],
  [/^\/audit$/, AuditPage],
];

export function Routes() {
  const { path } = useAddress();
  for (const [pattern, Shown] of routes) {
    const found = pattern.exec(path);
    const id = decodeURIComponent(found?.[1] ?? '');
    // The key makes another thing of the same kind another page, with nothing left of the one before.
    if (found) return <Shown key={id} id={id} />;
  }
  return (
    <Page title="There is no such page">
      <p>
        <Link href="/runs">All runs</Link>
      </p>
    </Page>
  );
}
