import type { FastifyInstance } from 'fastify';

const checkMs = 2_000;

/** Resolves when the service is usable. */
export type ReadinessCheck = () => Promise<unknown>;

/**
 * `/health/live`: the process answers. `/health/ready`: what it needs answers too, within two seconds; 503 and the names of what
 * does not, otherwise. Neither says why, since anyone may ask; the log does.
 */
export function serveHealth(
  server: FastifyInstance,
  checks: Readonly<Record<string, ReadinessCheck>>,
  onFailed: (name: string, cause: unknown) => void,
): void {
  server.get('/health/live', () => ({ status: 'ok' }));
  server.get('/health/ready', async (_request, reply) => {
    const results = await Promise.all(
      Object.entries(checks).map(async ([name, check]) => {
        try {
          await withinTime(check());
          return [name, 'ok'] as const;
        } catch (cause) {
          onFailed(name, cause);
          return [name, 'failed'] as const;
        }
      }),
    );
    const ready = results.every(([, result]) => result === 'ok');
    return reply.code(ready ? 200 : 503).send({ status: ready ? 'ok' : 'failed', checks: Object.fromEntries(results) });
  });
}

async function withinTime(work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${String(checkMs)} ms`)), checkMs);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
