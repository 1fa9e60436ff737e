import type { ConnectionState } from '@flux-etl/sdk';

import { moment } from '../format.ts';
import { Icon } from './icon.tsx';

/** Whether what is shown is what is so. Null: this page follows nothing. */
export function Connection({ state }: { state: ConnectionState | null }) {
  return (
    <span className="connection" role="status" data-connection={state?.status ?? 'none'}>
      {text(state)}
    </span>
  );
}

function text(state: ConnectionState | null) {
  if (!state) return null;
  if (state.status === 'live') {
    return (
      <>
        <Icon name="dot" /> live{state.transport === 'websocket' ? '' : ` by ${state.transport}`}
      </>
    );
  }
  if (state.status === 'reconnecting') {
    return (
      <>
        <Icon name="ring" /> reconnecting
      </>
    );
  }
  return (
    <>
      <Icon name="warning" /> stale since {moment(state.since.toISOString())}
    </>
  );
}
