import { memo } from 'react';

import { Icon } from '../../components/icon.tsx';
import type { LoggedEvent } from './use-event-log.ts';

const times = new Intl.DateTimeFormat('en-US', {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  fractionalSecondDigits: 3,
  hourCycle: 'h23',
});

/** Events that tell of something that went wrong, be it mended since. */
export function isTrouble({ name }: { name: string }): boolean {
  return /Failed|Lost|Expired|TakenOver|Retr|Rejected/.test(name);
}

interface LogRowProps {
  event: LoggedEvent;
  position: number;
  /** -1 while the log grows: a total would change every row with each event that comes. */
  total: number;
}

/** Drawn once: of a log that grows only the rows that are new cost something. */
export const LogRow = memo(function LogRow({ event, position, total }: LogRowProps) {
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
});
