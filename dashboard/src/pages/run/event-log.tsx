import { everyPage } from '@flux-etl/sdk';
import { useDeferredValue, useLayoutEffect, useMemo, useRef, useState } from 'react';

import { Icon } from '../../components/icon.tsx';
import { Problem } from '../../components/problem.tsx';
import { count, download } from '../../format.ts';
import { lineFile } from '../../line-file.ts';
import { useSession } from '../../use-session.ts';
import { growingFilter } from './event-window.ts';
import type { EventLog, LoggedEvent } from './use-event-log.ts';

const rowPx = 28;
const windowPx = 420;
/** Rows beyond the edges that are there before they are scrolled to. */
const spare = 10;
const times = new Intl.DateTimeFormat('en-US', {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  fractionalSecondDigits: 3,
  hourCycle: 'h23',
});

/** Events that tell of something that went wrong, be it mended since. */
export function isTrouble({ name }: { name: string }): boolean {
  return /Failed|Corrupt|Lost|Expired|TakenOver|Retr|Rejected/.test(name);
}

/** A run's events; however many there are, the page holds no more rows than fit on the screen. */
export function EventLogView({ runId, log }: { runId: string; log: EventLog }) {
  const { flux } = useSession();
  const [search, setSearch] = useState('');
  const [troubleOnly, setTroubleOnly] = useState(false);
  const [top, setTop] = useState(0);
  const [note, setNote] = useState('');
  const frame = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const wanted = useDeferredValue(search.trim().toLowerCase());

  const [filter] = useState(growingFilter<LoggedEvent>);
  const shown = useMemo(
    () => filter(log.events, `${String(troubleOnly)} ${wanted}`, (event) => fits(event, wanted, troubleOnly)),
    [filter, log.events, wanted, troubleOnly],
  );
  const first = Math.max(0, Math.floor(top / rowPx) - spare);
  const rows = shown.slice(first, first + Math.ceil(windowPx / rowPx) + 2 * spare);

  // Earlier events push down what is being read; who reads the end sees what comes.
  const firstSeq = shown[0]?.seq;
  const before = useRef({ firstSeq, length: 0 });
  useLayoutEffect(() => {
    const box = frame.current;
    if (!box) return;
    if (atEnd.current) box.scrollTop = box.scrollHeight;
    else if (before.current.firstSeq !== firstSeq) box.scrollTop += (shown.length - before.current.length) * rowPx;
    before.current = { firstSeq, length: shown.length };
  }, [shown.length, firstSeq]);

  const goTo = (index: number): void => {
    atEnd.current = false;
    if (frame.current) frame.current.scrollTop = Math.max(0, index * rowPx - windowPx / 3);
  };
  const toFirstError = (): void => {
    const index = shown.findIndex(({ name }) => /Failed|Corrupt/.test(name));
    if (index >= 0) goTo(index);
    setNote(index >= 0 ? `Event ${shown[index]?.seq ?? ''}` : 'No failure among the events that are loaded.');
  };
  const downloadAll = async (): Promise<void> => {
    setNote('Reading all events …');
    const events = everyPage((after) => flux.api.runEventLog({ runId, first: 200, after }));
    const { content, lines } = await lineFile(
      events,
      (event) => `${JSON.stringify(event)}\n`,
      (read) => setNote(`${count(read)} events read …`),
    );
    download(`run-${runId}.ndjson`, content, 'application/x-ndjson');
    setNote(`${count(lines)} events downloaded.`);
  };

  return (
    <section aria-labelledby="log-title">
      <h2 id="log-title">Events</h2>
      <div className="log-tools">
        <label>
          Search{' '}
          <input
            className="usa-input"
            type="search"
            value={search}
            onChange={(event) => setSearch(event.target.value)}
          />
        </label>
        <label className="log-check">
          <input type="checkbox" checked={troubleOnly} onChange={(event) => setTroubleOnly(event.target.checked)} />{' '}
          only what went wrong
        </label>
        <button type="button" className="usa-button usa-button--outline" onClick={toFirstError}>
          First failure
        </button>
        {log.hasEarlier && (
          <button type="button" className="usa-button usa-button--outline" onClick={() => void log.loadEarlier()}>
            Earlier events
          </button>
        )}
        <button
          type="button"
          className="usa-button usa-button--outline"
          onClick={() => void downloadAll().catch(() => setNote('The events could not be read.'))}
        >
          Download all
        </button>
        <span className="log-count" role="status">
          {note}
        </span>
      </div>
      <Problem error={log.error} title="The events could not be read" />
      {log.gaps.map((gap) => (
        <p key={gap} className="log-gap">
          <Icon name="warning" /> Events {gap} are no longer kept.
        </p>
      ))}
      <div
        className="log"
        ref={frame}
        role="region"
        aria-label="Events of this run, in order"
        tabIndex={0}
        onScroll={({ currentTarget: box }) => {
          atEnd.current = box.scrollTop + box.clientHeight >= box.scrollHeight - rowPx;
          setTop(box.scrollTop);
        }}
      >
        <ol className="log-rows" data-total={shown.length}>
          <Spacer rows={first} />
          {rows.map((event, i) => (
            <Row key={event.seq} event={event} position={first + i + 1} total={shown.length} />
          ))}
          <Spacer rows={Math.max(0, shown.length - first - rows.length)} />
        </ol>
      </div>
      <p className="log-count">
        {shown.length === log.events.length
          ? `${String(shown.length)} events loaded`
          : `${String(shown.length)} of ${String(log.events.length)} loaded events`}
        {log.hasEarlier ? '; earlier ones are on the server' : ''}
        {log.ended ? '. The attempt is over.' : '.'}
      </p>
    </section>
  );
}

function fits(event: LoggedEvent, wanted: string, troubleOnly: boolean): boolean {
  if (troubleOnly && !isTrouble(event)) return false;
  return wanted === '' || `${event.seq} ${event.name} ${event.message}`.toLowerCase().includes(wanted);
}

/** The height of rows that are not there. */
function Spacer({ rows }: { rows: number }) {
  const item = useRef<HTMLLIElement>(null);
  // Before the log's own effect, which measures what is there.
  useLayoutEffect(() => {
    if (item.current) item.current.style.height = `${String(rows * rowPx)}px`;
  }, [rows]);
  return rows === 0 ? null : <li ref={item} className="log-spacer" aria-hidden="true" />;
}

function Row({ event, position, total }: { event: LoggedEvent; position: number; total: number }) {
  const trouble = isTrouble(event);
  return (
    <li
      className={trouble ? 'log-row log-row--trouble' : 'log-row'}
      aria-posinset={position}
      aria-setsize={total}
      data-seq={event.seq}
    >
      <span className="log-seq">{event.seq}</span>
      <time dateTime={event.at}>{times.format(new Date(event.at))}</time>
      <span className="log-name">
        {trouble && <Icon name="warning" />}
        {event.name}
      </span>
      <span className="log-message">{event.message}</span>
    </li>
  );
}
