import { toFluxError } from '../errors.ts';
import type { ChildMessage } from './messages.ts';

/** A service that a process runs until it is told to stop. */
export interface Service {
  /** Names it among its like: a worker's id, or `api`. */
  id: string;
  url?: string;
  /** Where Prometheus finds it. */
  metricsUrl?: string;
  stop(): Promise<void>;
}

/**
 * Runs a service as a process: starts it, tells the supervisor if there is one, and stops it on SIGTERM or SIGINT. Resolves
 * when it has stopped.
 *
 * @throws what `start` throws, told to the supervisor before
 */
export async function runService(start: () => Promise<Service>): Promise<void> {
  const told = new Promise<void>((resolve) => {
    process.once('SIGTERM', () => resolve());
    process.once('SIGINT', () => resolve());
  });
  // A killed supervisor cannot be asked for patience: its successor may want this port and these leases now.
  process.once('disconnect', () => process.exit(1));
  let service: Service;
  try {
    service = await start();
  } catch (cause) {
    const { code, message } = toFluxError(cause);
    await tell({ type: 'failed', code, message });
    throw cause;
  }
  const { id, url, metricsUrl } = service;
  await tell({
    type: 'ready',
    id,
    ...(url === undefined ? {} : { url }),
    ...(metricsUrl === undefined ? {} : { metricsUrl }),
  });
  await told;
  await service.stop();
  if (process.connected) process.disconnect();
}

function tell(message: ChildMessage): Promise<void> {
  return new Promise((resolve) => {
    if (process.send && process.connected) process.send(message, () => resolve());
    else resolve();
  });
}
