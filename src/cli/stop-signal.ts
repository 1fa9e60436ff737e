import { note } from './output.ts';

/**
 * Aborts when somebody asks this process to stop: Ctrl-C, SIGTERM, a closed terminal, or the end of the launcher that
 * started it. A second time ends it at once; the children notice, and Postgres recovers at the next start.
 */
export function stopSignal(): AbortSignal {
  const controller = new AbortController();
  const ask = (): void => {
    if (controller.signal.aborted) {
      note('Stopping at once.');
      process.exit(1);
    }
    controller.abort();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, ask);
  process.once('disconnect', () => {
    if (!controller.signal.aborted) controller.abort();
  });
  return controller.signal;
}

/** What is being stopped; a server of DATABASE_URL is somebody else's and goes on. */
export function stoppingText({ databaseUrl }: { databaseUrl?: string | undefined }): string {
  return `Stopping: workers, API, sealer${databaseUrl === undefined ? ', Postgres' : '; the Postgres of DATABASE_URL goes on'} …`;
}
