import { words } from '../format.ts';
import { Icon, type IconName } from './icon.tsx';

type Tone = 'neutral' | 'active' | 'good' | 'bad' | 'warn';

const looks: Readonly<Record<string, readonly [IconName, Tone]>> = {
  PENDING: ['clock', 'neutral'],
  AVAILABLE: ['clock', 'neutral'],
  IN_PROGRESS: ['play', 'active'],
  EXECUTING: ['play', 'active'],
  COMPLETED: ['check', 'good'],
  VERIFIED: ['check', 'good'],
  ACTIVE: ['check', 'good'],
  PUBLISHED: ['check', 'good'],
  WELL: ['check', 'good'],
  DEGRADED: ['warning', 'warn'],
  RUNNING: ['play', 'active'],
  OPEN: ['clock', 'neutral'],
  SUPERSEDED: ['stop', 'neutral'],
  FAILED: ['cross', 'bad'],
  CORRUPTED: ['cross', 'bad'],
  CANCELLING: ['hand', 'warn'],
  PAUSED: ['hand', 'warn'],
  CANCELLED: ['stop', 'neutral'],
  REMOVED: ['stop', 'neutral'],
};

/** The shape of a state's icon. */
export function statusIcon(value: string): IconName {
  return looks[value]?.[0] ?? 'ring';
}

/** A state as icon, text and colour: each alone tells it. */
export function Status({ value }: { value: string }) {
  const [icon, tone] = looks[value] ?? ['ring', 'neutral'];
  return (
    <span className={`status status--${tone}`} data-status={value}>
      <Icon name={icon} />
      {words(value)}
    </span>
  );
}
