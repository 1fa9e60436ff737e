import { memo, useState } from 'react';

import { csv } from '../csv.ts';
import { download, duration, moment, words } from '../format.ts';
import { Link, navigate } from '../router.tsx';
import { useNow } from '../use-load.ts';
import type { ListedRun } from '../pages/use-run-list.ts';
import { logTicks } from './log-ticks.ts';
import { Status } from './status.tsx';
import { Table } from './table.tsx';
import { useChartWidth } from './use-chart-width.ts';

const height = 150;
const inset = { left: 64, right: 10, top: 10, bottom: 26 };

interface Dot {
  run: ListedRun;
  at: number;
  took: number;
}

/**
 * When each run in the list began, against how long it took: what is slower than usual stands out. The durations are on a logarithmic
 * scale. The table beside it has the same numbers, so the picture is for the eye alone.
 */
export const DurationScatter = memo(function DurationScatter({ runs }: { runs: readonly ListedRun[] }) {
  const [open, setOpen] = useState(false);
  const [place, width] = useChartWidth();
  const now = useNow(
    2_000,
    runs.some(({ isTerminal }) => !isTerminal),
  );
  const dots = runs.flatMap((run): Dot[] => {
    if (!run.startedAt) return [];
    const at = Date.parse(run.startedAt);
    return [{ run, at, took: Math.max(50, (run.finishedAt ? Date.parse(run.finishedAt) : now) - at) }];
  });
  if (dots.length < 2) return null;
  const first = Math.min(...dots.map(({ at }) => at));
  const last = Math.max(...dots.map(({ at }) => at));
  const least = Math.log10(Math.min(...dots.map(({ took }) => took)) / 1.3);
  const most = Math.log10(Math.max(...dots.map(({ took }) => took)) * 1.3);
  const x = (at: number): number =>
    inset.left + ((at - first) / Math.max(1, last - first)) * (width - inset.left - inset.right - 12) + 6;
  const y = (took: number): number =>
    height - inset.bottom - ((Math.log10(took) - least) / (most - least)) * (height - inset.top - inset.bottom);
  const ticks = logTicks(10 ** least, 10 ** most);
  return (
    <figure className="chart scatter" ref={place}>
      <figcaption>Duration of each listed run by its start</figcaption>
      <svg viewBox={`0 0 ${String(width)} ${String(height)}`} aria-hidden="true" focusable="false">
        {ticks.map((ms) => (
          <g key={ms}>
            <line className="grid" x1={inset.left} x2={width - inset.right} y1={y(ms)} y2={y(ms)} />
            <text x={inset.left - 6} y={y(ms) + 4} textAnchor="end">
              {duration(ms)}
            </text>
          </g>
        ))}
        <line
          className="axis"
          x1={inset.left}
          x2={width - inset.right}
          y1={height - inset.bottom}
          y2={height - inset.bottom}
        />
        <text x={inset.left} y={height - 6}>
          {edgeOf(first, width)}
        </text>
        <text x={width - inset.right} y={height - 6} textAnchor="end">
          {edgeOf(last, width)}
        </text>
        {dots.map(({ run, at, took }) => (
          <circle
            key={run.id}
            className={`dot dot--${run.status}`}
            cx={x(at)}
            cy={y(took)}
            r={4.5}
            onClick={() => navigate(`/runs/${run.runId}`)}
          >
            <title>{`${run.pipeline?.name ?? 'run'}, ${words(run.status)}, ${duration(took)}`}</title>
          </circle>
        ))}
      </svg>
      <details onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
        <summary>Durations as a table</summary>
        {open && (
          <Table
            caption="Duration of each listed run"
            rows={dots}
            keyOf={({ run }) => run.id}
            columns={[
              {
                title: 'Run',
                cell: ({ run }) => <Link href={`/runs/${run.runId}`}>{run.pipeline?.name ?? run.runId}</Link>,
              },
              { title: 'Status', cell: ({ run }) => <Status value={run.status} /> },
              { title: 'Began', cell: ({ run }) => moment(run.startedAt) },
              { title: 'Took', numeric: true, cell: ({ took }) => duration(took) },
            ]}
          />
        )}
        <button
          type="button"
          className="usa-button usa-button--outline"
          onClick={() => download('durations.csv', csvOf(dots), 'text/csv')}
        >
          Durations as CSV
        </button>
      </details>
    </figure>
  );
});

function csvOf(dots: readonly Dot[]): string {
  return csv([
    ['run', 'pipeline', 'status', 'started', 'seconds'],
    ...dots.map(({ run, took }) => [
      run.runId,
      run.pipeline?.name ?? '',
      run.status,
      run.startedAt ?? '',
      (took / 1_000).toFixed(3),
    ]),
  ]);
}

/** Where the axis begins and ends; on a telephone without year and seconds, so that both have room. */
function edgeOf(at: number, width: number): string {
  const text = moment(new Date(at).toISOString());
  return width < 480 ? text.replace(/, \d{4}/, '').replace(/:\d\d$/, '') : text;
}
