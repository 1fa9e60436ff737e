import type { RunProgress } from '@flux-etl/sdk';
import { memo, useEffect, useState } from 'react';

import { Fact } from '../../components/fact.tsx';
import { Table } from '../../components/table.tsx';
import { useChartWidth } from '../../components/use-chart-width.ts';
import { csv } from '../../csv.ts';
import { count, download, duration, moment, percent } from '../../format.ts';
import { useSession } from '../../use-session.ts';

interface Sample {
  at: number;
  rate: number;
  read: string;
}

const height = 170;
const inset = { left: 64, right: 8, top: 8, bottom: 20 };
const samplesMax = 1_200;
/** Of the chart's twin, which is drawn anew with each sample. */
const rowsMax = 120;
/** A run that has shown nothing for so long is marked. */
const stalledAfterMs = 20_000;

/** Records per second since this page was opened, when it will be done, and whether it stands still. */
export const Throughput = memo(function Throughput({
  runId,
  attempt,
  now,
}: {
  runId: string;
  attempt: number;
  now: number;
}) {
  const { flux } = useSession();
  const [samples, setSamples] = useState<readonly Sample[]>([]);
  const [progress, setProgress] = useState<RunProgress | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    const follow = async (): Promise<void> => {
      for await (const next of flux.runs.progress(runId, { maxPerSecond: 2, signal: stop.signal })) {
        setProgress(next);
        const sample = { at: Date.now(), rate: next.ratePerSecond ?? 0, read: next.recordsRead };
        setSamples((before) => [...before, sample].slice(-samplesMax));
      }
    };
    // What cannot be read here is said by the log, which follows the same run.
    void follow().catch(() => undefined);
    return () => stop.abort();
  }, [flux, runId, attempt]);
  if (!progress) return null;
  const stalled = progress.status === 'IN_PROGRESS' && now - Date.parse(progress.updatedAt) > stalledAfterMs;
  return (
    <section aria-labelledby="rate-title">
      <h2 id="rate-title">Throughput</h2>
      <dl className="facts">
        <Fact
          name="Read"
          value={`${count(progress.recordsRead)}${progress.recordsTotal ? ` of ${count(progress.recordsTotal)}` : ''}`}
        />
        <Fact name="Written" value={count(progress.recordsWritten)} />
        <Fact name="Rejected" value={count(progress.recordsRejected)} />
        <Fact name="Left out by a rule" value={count(progress.recordsFiltered)} />
        {typeof progress.fraction === 'number' && <Fact name="Done" value={percent(progress.fraction)} />}
        {progress.status === 'IN_PROGRESS' && typeof progress.ratePerSecond === 'number' && (
          <Fact name="Records per second" value={count(Math.round(progress.ratePerSecond))} />
        )}
        {progress.etaAt && (
          <Fact
            name="Ready about"
            value={`${moment(progress.etaAt)} (in ${duration(Date.parse(progress.etaAt) - now)})`}
          />
        )}
      </dl>
      {stalled && (
        <p className="stalled">
          <strong>Stalled:</strong> nothing has moved for {duration(now - Date.parse(progress.updatedAt))}.
        </p>
      )}
      {samples.length > 2 && <Plot samples={samples} runId={runId} />}
    </section>
  );
});

const Plot = memo(function Plot({ samples, runId }: { samples: readonly Sample[]; runId: string }) {
  const [open, setOpen] = useState(false);
  const [place, width] = useChartWidth();
  const first = samples[0]?.at ?? 0;
  const span = Math.max(1, (samples.at(-1)?.at ?? 0) - first);
  const most = Math.max(1, ...samples.map(({ rate }) => rate));
  const x = (at: number): number => inset.left + ((at - first) / span) * (width - inset.left - inset.right);
  const y = (rate: number): number => height - inset.bottom - (rate / most) * (height - inset.top - inset.bottom);
  const line = samples.map(({ at, rate }) => `${x(at).toFixed(1)},${y(rate).toFixed(1)}`).join(' ');
  return (
    <figure className="chart rate" ref={place}>
      <figcaption>
        Records per second over the last {duration(span)}.{' '}
        <button
          type="button"
          className="usa-button usa-button--unstyled"
          onClick={() =>
            download(
              `throughput-${runId}.csv`,
              csv([
                ['at', 'records per second', 'records read'],
                ...samples.map(({ at, rate, read }) => [new Date(at).toISOString(), rate.toFixed(1), read]),
              ]),
              'text/csv',
            )
          }
        >
          As CSV
        </button>
      </figcaption>
      <svg viewBox={`0 0 ${String(width)} ${String(height)}`} aria-hidden="true" focusable="false">
        {[0, 0.5, 1].map((part) => (
          <g key={part}>
            <line className="grid" x1={inset.left} x2={width - inset.right} y1={y(part * most)} y2={y(part * most)} />
            <text x={inset.left - 6} y={y(part * most) + 4} textAnchor="end">
              {count(Math.round(part * most))}
            </text>
          </g>
        ))}
        <polyline className="line" points={line} />
      </svg>
      <details onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
        <summary>Throughput as a table</summary>
        {open && (
          <Table
            caption={`Records per second, the newest ${String(rowsMax)} of ${String(samples.length)}; the CSV has all`}
            rows={samples.slice(-rowsMax).reverse()}
            keyOf={({ at, read }) => `${String(at)} ${read}`}
            columns={[
              { title: 'At', cell: ({ at }) => moment(new Date(at).toISOString()) },
              { title: 'Records per second', numeric: true, cell: ({ rate }) => count(Math.round(rate)) },
              { title: 'Records read', numeric: true, cell: ({ read }) => count(read) },
            ]}
          />
        )}
      </details>
    </figure>
  );
});
