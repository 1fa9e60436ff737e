import { memo, type ReactNode } from 'react';

import { Problem } from '../../components/problem.tsx';
import { words } from '../../format.ts';
import { Link } from '../../router.tsx';
import { useLoad } from '../../use-load.ts';
import { useSession } from '../../use-session.ts';
import type { Run } from './use-run.ts';

interface Step {
  what: string;
  shown: ReactNode;
}

/** Where the run's records came from and where they went, in the order of their way: the list is the picture. */
export const Lineage = memo(function Lineage({ run }: { run: Run }) {
  const { flux } = useSession();
  const { name, version } = run.pipeline ?? {};
  const { data: pipeline, error } = useLoad(`${name ?? ''} ${String(version)}`, async (signal) =>
    name === undefined ? null : flux.api.pipeline({ name, version: version ?? null }, { signal }),
  );
  const source = sourceOf(pipeline?.definition);
  const steps: Step[] = [
    ...earlierRuns(run),
    ...(source ? [{ what: 'Source', shown: source }] : []),
    ...(pipeline?.contract
      ? [
          {
            what: 'Contract',
            shown: (
              <Link href={`/contracts/${pipeline.contract.name}?version=${String(pipeline.contract.version)}`}>
                {pipeline.contract.name} v{pipeline.contract.version}
              </Link>
            ),
          },
        ]
      : []),
    ...(name === undefined
      ? []
      : [
          {
            what: 'Pipeline',
            shown: (
              <Link href={`/pipelines/${name}?version=${String(version)}`}>
                {name} v{version}
              </Link>
            ),
          },
        ]),
    { what: 'This run', shown: <code>{run.runId}</code> },
    ...(run.load
      ? [
          {
            what: 'Dataset',
            shown: (
              <>
                <Link href={`/data/${run.load.dataset}?load=${run.load.loadNo}`}>
                  {run.load.dataset}, load {run.load.loadNo}
                </Link>{' '}
                ({words(run.load.status)})
              </>
            ),
          },
        ]
      : []),
  ];
  return (
    <section aria-labelledby="lineage-title">
      <h2 id="lineage-title">Lineage</h2>
      <Problem error={error} title="The pipeline could not be read" />
      <ol className="lineage" aria-label="Lineage">
        {steps.map(({ what, shown }) => (
          <li key={what}>
            <span className="lineage-what">{what}</span>
            <span>{shown}</span>
          </li>
        ))}
      </ol>
    </section>
  );
});

function earlierRuns({ lineage }: Run): Step[] {
  const { rerunOf, forkedFrom, forkedFromCheckpoint, reprocessOf, inputRun, resumedFrom } = lineage;
  const checkpoint = forkedFromCheckpoint
    ? `, checkpoint ${String(forkedFromCheckpoint.partition)} · ${String(forkedFromCheckpoint.version)}`
    : '';
  const runs: [what: string, of: { runId: string } | null | undefined, more: string][] = [
    ['A rerun of', rerunOf, ''],
    ['Forked from', forkedFrom, checkpoint],
    ['Reprocesses what was rejected by', reprocessOf, ''],
    ['Reads the parts of', inputRun, ''],
  ];
  return [
    ...runs.flatMap(([what, of, more]) =>
      of
        ? [
            {
              what,
              shown: (
                <>
                  <Link href={`/runs/${of.runId}`}>run {of.runId}</Link>
                  {more}
                </>
              ),
            },
          ]
        : [],
    ),
    ...(resumedFrom
      ? [
          {
            what: 'Resumed after',
            shown: `event ${resumedFrom.seq} (${resumedFrom.name}), attempt ${String(resumedFrom.attempt)}`,
          },
        ]
      : []),
  ];
}

function sourceOf(definition: unknown): string | null {
  const { source } = (definition ?? {}) as { source?: { connection?: unknown; path?: unknown } };
  if (typeof source?.connection !== 'string') return null;
  return typeof source.path === 'string' ? `${source.connection}: ${source.path}` : source.connection;
}
