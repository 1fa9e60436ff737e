import type { RunQuery } from '@flux-etl/sdk';
import { memo } from 'react';

import { Status } from '../../components/status.tsx';
import { Table } from '../../components/table.tsx';
import { useChartWidth } from '../../components/use-chart-width.ts';
import { csv } from '../../csv.ts';
import { count, download, duration, moment, words } from '../../format.ts';
import type { Marks } from './use-marks.ts';
import type { LoggedEvent } from './use-event-log.ts';

type Run = NonNullable<RunQuery['run']>;
type Partition = Run['partitions'][number];

const labelMax = 150;
const row = 26;
const axis = 22;
const rowsMax = 60;

interface GanttProps {
  run: Run;
  now: number;
  marks: Marks;
}

/**
 * When each partition waited and when it was worked on, from the server's own statistics: no event has to be read for it. Takeovers and
 * new attempts are marked where the page holds their events.
 */
export const Gantt = memo(function Gantt({ run, now, marks }: GanttProps) {
  const [place, width] = useChartWidth();
  const label = Math.min(labelMax, width * 0.3);
  const partitions = [...run.partitions].sort((a, b) => a.partitionNo - b.partitionNo);
  if (partitions.length === 0) return null;
  const drawn = partitions.slice(0, rowsMax);
  const start = Date.parse(run.createdAt);
  const end = Math.max(
    start + 1_000,
    run.finishedAt ? Date.parse(run.finishedAt) : now,
    ...drawn.map((one) => endOf(one, now)),
  );
  const x = (at: number): number => label + ((at - start) / (end - start)) * (width - label - 8);
  const height = axis + drawn.length * row;
  return (
    <section aria-labelledby="gantt-title">
      <h2 id="gantt-title">Partitions</h2>
      <figure className="chart gantt" ref={place}>
        <figcaption>
          Waiting (outlined) and working (filled), from when the run was asked for. A triangle is a takeover or another
          try, a dashed line a new attempt.
        </figcaption>
        <svg viewBox={`0 0 ${String(width)} ${String(height)}`} aria-hidden="true" focusable="false">
          {(width < 480 ? [0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1]).map((part) => (
            <g key={part}>
              <line
                className="grid"
                x1={x(start + part * (end - start))}
                x2={x(start + part * (end - start))}
                y1={axis - 4}
                y2={height}
              />
              <text x={x(start + part * (end - start))} y={12} textAnchor={part === 1 ? 'end' : 'middle'}>
                {duration(part * (end - start))}
              </text>
            </g>
          ))}
          {drawn.map((partition, i) => (
            <Bar
              key={`${partition.stage} ${String(partition.partitionNo)}`}
              partition={partition}
              y={axis + i * row}
              x={x}
              start={start}
              now={now}
              marks={marks.partitions.get(partition.partitionNo) ?? []}
            />
          ))}
          {marks.attempts.map(({ seq, at, message }) => (
            <line
              key={seq}
              className="mark--attempt"
              x1={x(Date.parse(at))}
              x2={x(Date.parse(at))}
              y1={axis - 4}
              y2={height}
            >
              <title>{message}</title>
            </line>
          ))}
        </svg>
      </figure>
      {partitions.length > rowsMax && (
        <p>
          The first {rowsMax} of {partitions.length} are drawn; the table has all.
        </p>
      )}
      <details>
        <summary>Partitions as a table</summary>
        <Table
          caption="Partitions"
          rows={partitions}
          keyOf={({ stage, partitionNo }) => `${stage} ${String(partitionNo)}`}
          columns={[
            { title: 'Partition', cell: nameOf },
            { title: 'Status', cell: ({ status }) => <Status value={status} /> },
            { title: 'Worker', cell: ({ worker }) => <span data-worker="">{worker ?? '–'}</span> },
            { title: 'Takings', numeric: true, cell: ({ epoch }) => String(epoch) },
            {
              title: 'Takeovers',
              numeric: true,
              cell: ({ partitionNo }) => <span data-takeovers="">{takeovers(marks, partitionNo)}</span>,
            },
            {
              title: 'Waited',
              numeric: true,
              cell: (one) => duration((one.startedAt ? Date.parse(one.startedAt) : now) - start),
            },
            { title: 'Read', numeric: true, cell: ({ recordsRead }) => count(recordsRead) },
            { title: 'Written', numeric: true, cell: ({ recordsWritten }) => count(recordsWritten) },
            { title: 'Rejected', numeric: true, cell: ({ recordsRejected }) => count(recordsRejected) },
            { title: 'Began', cell: ({ startedAt }) => moment(startedAt) },
            {
              title: 'Took',
              numeric: true,
              cell: (one) => (one.startedAt ? duration(endOf(one, now) - Date.parse(one.startedAt)) : '–'),
            },
          ]}
        />
        <button
          type="button"
          className="usa-button usa-button--outline"
          onClick={() => download(`partitions-${run.runId}.csv`, csvOf(partitions, marks), 'text/csv')}
        >
          Partitions as CSV
        </button>
      </details>
    </section>
  );
});

interface BarProps {
  partition: Partition;
  y: number;
  x: (at: number) => number;
  start: number;
  now: number;
  marks: readonly LoggedEvent[];
}

function Bar({ partition, y, x, start, now, marks }: BarProps) {
  const begun = partition.startedAt ? Date.parse(partition.startedAt) : now;
  const end = endOf(partition, now);
  return (
    <g>
      <text x={0} y={y + 16}>
        {nameOf(partition)}
        {partition.epoch > 1 ? ` ×${String(partition.epoch)}` : ''}
      </text>
      <rect className="bar bar--wait" x={x(start)} y={y + 8} width={Math.max(1, x(begun) - x(start))} height={7} />
      {partition.startedAt && (
        <rect
          className={`bar bar--${partition.status}`}
          x={x(begun)}
          y={y + 3}
          width={Math.max(2, x(end) - x(begun))}
          height={17}
          rx={2}
        >
          <title>{`${nameOf(partition)}: ${words(partition.status)}, ${duration(end - begun)}`}</title>
        </rect>
      )}
      {marks.map(({ seq, at, name, message }) => (
        <path
          key={seq}
          className={name === 'PartitionTakenOver' ? 'mark mark--takeover' : 'mark'}
          d={`M${x(Date.parse(at)).toFixed(1)} ${String(y + 10)} l5 9 h-10 z`}
        >
          <title>{message}</title>
        </path>
      ))}
    </g>
  );
}

function takeovers({ partitions }: Marks, partitionNo: number): string {
  const own = partitions.get(partitionNo) ?? [];
  return String(own.filter(({ name }) => name === 'PartitionTakenOver').length);
}

function nameOf({ kind, stage, partitionNo }: Partition): string {
  return kind === 'BATCHES' ? `${words(stage)} ${String(partitionNo)}` : words(kind);
}

function endOf({ finishedAt, startedAt, updatedAt, status }: Partition, now: number): number {
  if (finishedAt) return Date.parse(finishedAt);
  return status === 'EXECUTING' ? now : Date.parse(updatedAt ?? startedAt);
}

function csvOf(partitions: readonly Partition[], marks: Marks): string {
  return csv([
    [
      ...['partition', 'kind', 'stage', 'status', 'worker', 'takings', 'takeovers'],
      ...['read', 'written', 'rejected', 'started', 'finished'],
    ],
    ...partitions.map((one) => [
      String(one.partitionNo),
      one.kind,
      one.stage,
      one.status,
      one.worker ?? '',
      String(one.epoch),
      takeovers(marks, one.partitionNo),
      one.recordsRead,
      one.recordsWritten,
      one.recordsRejected,
      one.startedAt ?? '',
      one.finishedAt ?? '',
    ]),
  ]);
}
