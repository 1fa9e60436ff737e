import { everyPage } from '@flux-etl/sdk';
import { memo, useDeferredValue, useLayoutEffect, useMemo, useRef, useState } from 'react';

import { Icon } from '../../components/icon.tsx';
import { Problem } from '../../components/problem.tsx';
import { count, download } from '../../format.ts';
import { lineFile } from '../../line-file.ts';
import { useSession } from '../../use-session.ts';
import { growingFilter } from './event-window.ts';
import { isTrouble, LogRow } from './log-row.tsx';
import type { EventLog, LoggedEvent } from './use-event-log.ts';
import { useLogPlace } from './use-log-place.ts';

const rowPx = 28;
const windowPx = 420;
/** Rows beyond the edges that are there before they are scrolled to. */
const spare = 10;
const rowsShown = Math.ceil(windowPx / rowPx) + 2 * spare;

/** A run's events; however many there are, the page holds no more rows than fit on the screen. */
export const EventLogView = memo(function EventLogView({ runId, log }: { runId: string; log: EventLog }) {
  const { flux } = useSession();
  const place = useLogPlace(runId, log);
  const [search, setSearch] = useState('');
  const [troubleOnly, setTroubleOnly] = useState(false);
  const [top, setTop] = useState(0);
  /** Who reads the end sees what comes. */
  const [following, setFollowing] = useState(true);
  const [wantedSeq, setWantedSeq] = useState<string | null>(null);
  const [note, setNote] = useState('');
  const frame = useRef<HTMLDivElement>(null);
  const wanted = useDeferredValue(search.trim().toLowerCase());

  const [filter] = useState(growingFilter<LoggedEvent>);
  const shown = useMemo(
    () => filter(place.events, `${String(troubleOnly)} ${wanted}`, (event) => fits(event, wanted, troubleOnly)),
    [filter, place.events, wanted, troubleOnly],
  );
  const stuck = following && place.atEnd;
  const first = Math.max(0, stuck ? shown.length - rowsShown + spare : Math.floor(top / rowPx) - spare);
  const rows = shown.slice(first, first + rowsShown);
  const total = log.ended || !place.atEnd ? shown.length : -1;

  // Earlier events push down what is being read; who reads the end stays there.
  const firstSeq = shown[0]?.seq;
  const before = useRef({ firstSeq, length: 0 });
  useLayoutEffect(() => {
    const box = frame.current;
    if (!box) return;
    const index = wantedSeq === null ? -1 : shown.findIndex(({ seq }) => seq === wantedSeq);
    if (index >= 0) {
      box.scrollTop = Math.max(0, index * rowPx - windowPx / 3);
      setTop(box.scrollTop);
      setWantedSeq(null);
    } else if (stuck) box.scrollTop = shown.length * rowPx;
    else if (before.current.firstSeq !== firstSeq) {
      const known = shown.findIndex(({ seq }) => seq === before.current.firstSeq);
      box.scrollTop += (known >= 0 ? known : shown.length - before.current.length) * rowPx;
    }
    before.current = { firstSeq, length: shown.length };
  }, [shown, firstSeq, stuck, wantedSeq]);

  const show = (seq: string): void => {
    // A search that hides it would leave an empty place.
    setSearch('');
    setTroubleOnly(false);
    setFollowing(false);
    setWantedSeq(seq);
  };
  const toFirstFailure = async (): Promise<void> => {
    setNote('Looking …');
    const found = await place.toFirstFailure();
    setNote(found ? `Event ${found.seq}` : 'There is no failure among the events of this run.');
    if (found) show(found.seq);
  };
  const toStart = async (): Promise<void> => {
    const found = await place.toStart();
    if (found) show(found.seq);
  };
  const toEnd = (): void => {
    place.toEnd();
    setFollowing(true);
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
        <LogButton text="First event" onPress={() => void toStart()} />
        <LogButton text="First failure" onPress={() => void toFirstFailure()} />
        {!stuck && <LogButton text="To the end" onPress={toEnd} />}
        {place.hasEarlier && <LogButton text="Earlier events" onPress={() => void place.loadEarlier()} />}
        {place.hasLater && <LogButton text="Later events" onPress={() => void place.loadLater()} />}
        <LogButton
          text="Download all"
          onPress={() => void downloadAll().catch(() => setNote('The events could not be read.'))}
        />
        <span className="log-count" role="status">
          {note}
        </span>
      </div>
      <Problem error={place.error} title="The events could not be read" />
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
          const isAtEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - rowPx;
          setFollowing(isAtEnd);
          // Who stays at the end is shown the last rows as they come: the place is of no account.
          if (!(isAtEnd && stuck)) setTop(box.scrollTop);
        }}
      >
        <ol className="log-rows" data-total={shown.length}>
          <Spacer rows={first} />
          {rows.map((event, i) => (
            <LogRow key={event.seq} event={event} position={first + i + 1} total={total} />
          ))}
          <Spacer rows={Math.max(0, shown.length - first - rows.length)} />
        </ol>
      </div>
      <p className="log-count">
        {shown.length === place.events.length
          ? `${String(shown.length)} events loaded`
          : `${String(shown.length)} of ${String(place.events.length)} loaded events`}
        {place.hasEarlier ? '; earlier ones are on the server' : ''}
        {place.hasLater ? '; later ones are on the server' : ''}
        {log.ended ? '. The attempt is over.' : '.'}
      </p>
    </section>
  );
});

function LogButton({ text, onPress }: { text: string; onPress: () => void }) {
  return (
    <button type="button" className="usa-button usa-button--outline" onClick={onPress}>
      {text}
    </button>
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
