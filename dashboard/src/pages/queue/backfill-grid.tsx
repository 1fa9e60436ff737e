import { everyPage, type BackfillQuery } from '@flux-etl/sdk';
import { type KeyboardEvent, useEffect, useMemo, useRef, useState } from 'react';

import { Calls, restCall } from '../../components/calls.tsx';
import { Icon } from '../../components/icon.tsx';
import { Problem } from '../../components/problem.tsx';
import { ReasonDialog } from '../../components/reason-dialog.tsx';
import { Status, statusIcon } from '../../components/status.tsx';
import { Table } from '../../components/table.tsx';
import { csv } from '../../csv.ts';
import { download, words } from '../../format.ts';
import { Link, navigate } from '../../router.tsx';
import { useLoad } from '../../use-load.ts';
import { useSession } from '../../use-session.ts';
import { moved } from './grid-move.ts';

type Backfill = NonNullable<BackfillQuery['backfill']>;
type BackfillDate = Backfill['dates']['edges'][number]['node'];

const refreshMs = 3_000;

/** One backfill: every date with what became of it, as a grid that arrow keys go through. */
export function BackfillView({ id }: { id: string }) {
  const { flux, may } = useSession();
  const [asked, setAsked] = useState<'cancel' | 'resume' | null>(null);
  const { data, error, reload } = useLoad(`backfill ${id}`, async (signal) => {
    const backfill = await flux.api.backfill({ id, first: 1 }, { signal });
    if (!backfill) return { backfill, dates: [] };
    const dates: BackfillDate[] = [];
    const pages = everyPage(async (after) => {
      const page = await flux.api.backfill({ id, first: 200, after }, { signal });
      const { edges = [], pageInfo } = page?.dates ?? {};
      return {
        edges: edges.map(({ node }) => ({ node, cursor: '' })),
        pageInfo: { hasNextPage: pageInfo?.hasNextPage ?? false, endCursor: pageInfo?.endCursor ?? null },
      };
    });
    for await (const date of pages) dates.push(date);
    return { backfill, dates };
  });
  const open = data?.backfill?.status === 'RUNNING' || data?.backfill?.status === 'CANCELLING';
  useEffect(() => {
    if (!open) return;
    const timer = setInterval(reload, refreshMs);
    return () => clearInterval(timer);
  }, [open, reload]);
  const backfill = data?.backfill;
  if (!backfill)
    return error ? (
      <Problem error={error} title="The backfill could not be read" />
    ) : (
      <p className="loading">{data ? 'There is no such backfill.' : 'Loading …'}</p>
    );
  const { progress } = backfill;
  return (
    <section aria-labelledby="backfill-title">
      <h2 id="backfill-title">
        Backfill of {backfill.pipelineName}, {backfill.firstDate} to {backfill.lastDate}
      </h2>
      <p>
        <Status value={backfill.status} /> {progress.completed} of {progress.total} dates completed, {progress.running}{' '}
        running, {progress.failed} failed, {progress.cancelled} cancelled.
      </p>
      <Problem error={error} title="The backfill could not be read again" />
      {may('run:write') && (
        <div className="verbs">
          <button
            type="button"
            className="usa-button usa-button--outline"
            disabled={backfill.status !== 'RUNNING'}
            onClick={() => setAsked('cancel')}
          >
            Cancel the backfill
          </button>
          <button
            type="button"
            className="usa-button usa-button--outline"
            disabled={backfill.status !== 'FAILED' && backfill.status !== 'CANCELLED'}
            onClick={() => setAsked('resume')}
          >
            Start failed and cancelled dates anew
          </button>
        </div>
      )}
      <DateGrid dates={data.dates} monthly={backfill.step === 'MONTH'} />
      <Twin backfill={backfill} dates={data.dates} />
      <Calls
        cli={`flux backfills show ${backfill.backfillId}`}
        sdk={`await flux.api.backfill({ id: '${backfill.backfillId}' });`}
        curl={restCall(`/backfill/${backfill.backfillId}`)}
      />
      {asked && (
        <ReasonDialog
          title={asked === 'cancel' ? 'Cancel the backfill' : 'Start failed and cancelled dates anew'}
          says={
            asked === 'cancel'
              ? 'No more dates are started, and the runs under way are asked to stop.'
              : 'Dates that failed or were cancelled get a new run, and no others.'
          }
          perform={(reason) =>
            asked === 'cancel'
              ? flux.api.cancelBackfill({ id: backfill.backfillId, reason })
              : flux.api.resumeBackfill({ id: backfill.backfillId, reason })
          }
          onClose={() => {
            setAsked(null);
            reload();
          }}
        />
      )}
    </section>
  );
}

interface Row {
  title: string;
  /** By column. */
  cells: ReadonlyMap<number, BackfillDate>;
}

const monthNames = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** Months by days; years by months where only the first of each month has a run. */
function rowsOf(dates: readonly BackfillDate[], monthly: boolean): Row[] {
  const grouped = Map.groupBy(dates, ({ date }) => date.slice(0, monthly ? 4 : 7));
  return [...grouped].map(([title, some]) => ({
    title,
    cells: new Map(some.map((one) => [Number(monthly ? one.date.slice(5, 7) : one.date.slice(8, 10)), one])),
  }));
}

function DateGrid({ dates, monthly }: { dates: readonly BackfillDate[]; monthly: boolean }) {
  const rows = useMemo(() => rowsOf(dates, monthly), [dates, monthly]);
  const columns = useMemo(() => rows.map(({ cells }) => [...cells.keys()]), [rows]);
  const [at, setAt] = useState({ row: 0, column: columns[0]?.[0] ?? 1 });
  const table = useRef<HTMLTableElement>(null);
  const chosen = rows[at.row]?.cells.get(at.column);
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === 'Enter' && chosen?.run) {
      event.preventDefault();
      navigate(`/runs/${chosen.run.runId}`);
      return;
    }
    const next = moved(columns, at, event);
    if (!next) return;
    event.preventDefault();
    setAt(next);
    table.current?.querySelector<HTMLElement>(`[data-cell="${String(next.row)} ${String(next.column)}"]`)?.focus();
  };
  const heads = Array.from({ length: monthly ? 12 : 31 }, (_, i) => i + 1);
  return (
    <>
      <p id="grid-keys" className="usa-hint">
        Arrow keys, Home, End, Page Up and Page Down go from date to date; Enter opens its run.
      </p>
      <div className="table-scroll">
        <table
          ref={table}
          className="date-grid"
          role="grid"
          aria-label="Dates of the backfill"
          aria-describedby="grid-keys"
          onKeyDown={onKeyDown}
        >
          <thead>
            <tr>
              <th scope="col">{monthly ? 'Year' : 'Month'}</th>
              {heads.map((head) => (
                <th key={head} scope="col">
                  {monthly ? monthNames[head - 1] : head}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map(({ title, cells }, row) => (
              <tr key={title}>
                <th scope="row">{title}</th>
                {heads.map((column) => {
                  const date = cells.get(column);
                  if (!date) return <td key={column} aria-hidden="true" />;
                  const here = at.row === row && at.column === column;
                  return (
                    <td
                      key={column}
                      data-cell={`${String(row)} ${String(column)}`}
                      data-date={date.date}
                      className={`date date--${date.status}`}
                      tabIndex={here ? 0 : -1}
                      aria-selected={here}
                      aria-label={`${date.date}: ${words(date.status)}`}
                      onFocus={() => setAt({ row, column })}
                    >
                      <Icon name={statusIcon(date.status)} />
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {chosen && (
        <p className="date-chosen" aria-live="polite">
          <strong>{chosen.date}</strong> <Status value={chosen.status} />
          {chosen.attempt > 1 && ` attempt ${String(chosen.attempt)}`}{' '}
          {chosen.run && <Link href={`/runs/${chosen.run.runId}`}>its run</Link>} {chosen.message}
        </p>
      )}
    </>
  );
}

function Twin({ backfill, dates }: { backfill: Backfill; dates: readonly BackfillDate[] }) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
      <summary>Dates as a table</summary>
      {open && (
        <Table
          caption="Dates"
          rows={dates}
          keyOf={({ date }) => date}
          columns={[
            { title: 'Date', cell: ({ date }) => date },
            { title: 'Status', cell: ({ status }) => <Status value={status} /> },
            { title: 'Attempt', numeric: true, cell: ({ attempt }) => String(attempt) },
            { title: 'Run', cell: ({ run }) => (run ? <Link href={`/runs/${run.runId}`}>its run</Link> : '–') },
            { title: 'Message', cell: ({ message }) => message ?? '' },
          ]}
        />
      )}
      <button
        type="button"
        className="usa-button usa-button--outline"
        onClick={() =>
          download(
            `backfill-${backfill.backfillId}.csv`,
            csv([
              ['date', 'status', 'attempt', 'message'],
              ...dates.map(({ date, status, attempt, message }) => [date, status, String(attempt), message ?? '']),
            ]),
            'text/csv',
          )
        }
      >
        Dates as CSV
      </button>
    </details>
  );
}
