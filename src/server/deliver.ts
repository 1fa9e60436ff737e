import type { SharedResults } from './shared-results.ts';
import { metrics } from '../telemetry/metrics.ts';

/** Most results that are sent at one go. */
const batchMost = 64;

export interface Outlet {
  /** Whether nothing may be sent any more. */
  closed(): boolean;
  /**
   * Sends texts in their order, as many as are sensible at once, at least one.
   *
   * @returns how many
   */
  send(texts: readonly string[]): number;
  /** Resolves when the client may get more; at once where it keeps up. */
  room(): Promise<void> | undefined;
}

/**
 * Sends a subscriber's results until the stream or the outlet ends. Between two batches it holds nothing but its place, so a
 * client that reads nothing costs what the outlet has taken, however much happens meanwhile.
 */
export async function deliver({ batches, textOf }: SharedResults, outlet: Outlet): Promise<void> {
  for (;;) {
    const more = await sendBatch({ batches, textOf }, outlet);
    if (!more) return;
    const room = outlet.room();
    if (room) await room;
  }
}

async function sendBatch({ batches, textOf }: SharedResults, outlet: Outlet): Promise<boolean> {
  const items = await batches.look(batchMost);
  if (!items || outlet.closed()) return false;
  const texts: string[] = [];
  for (const item of items) {
    const text = textOf(item);
    texts.push(typeof text === 'string' ? text : await text);
  }
  if (outlet.closed()) return false;
  const sent = outlet.send(texts);
  metrics.streamDeliveries.inc(sent);
  batches.take(sent === items.length ? items : items.slice(0, sent));
  return true;
}
