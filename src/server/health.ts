import type { FastifyInstance } from 'fastify';

import { type HealthCheck, healthStatus, readiness, runChecks } from '../telemetry/health-checks.ts';

export type ReadinessCheck = HealthCheck;

/** What `/health/deep` asks besides: checks that cost more than a probe may, and numbers to show. */
export interface DeepHealth {
  checks: Readonly<Record<string, HealthCheck>>;
  /** null where a number cannot be known. */
  numbers: () => Promise<Readonly<Record<string, number | null>>>;
}

/** Strangers may ask as often as they like; the database is asked once in this time. */
const deepEveryMs = 1_000;

/**
 * `/health/live`: the process answers. `/health/ready`: what it needs answers too, within two seconds; 503 and the names of what
 * does not, otherwise; `degraded`, and 200, when only what can be done without is away. `/health/deep`: how long each took, what costs more, and the queue; for people, never for a probe. None
 * says why, since anyone may ask; the log does.
 */
export function serveHealth(
  server: FastifyInstance,
  checks: Readonly<Record<string, HealthCheck>>,
  onFailed: (name: string, cause: unknown) => void,
  deep: DeepHealth = { checks: {}, numbers: () => Promise.resolve({}) },
): void {
  server.get('/health/live', () => ({ status: 'ok' }));
  server.get('/health/ready', async (_request, reply) => {
    const { code, body } = await readiness(checks, onFailed);
    return reply.code(code).send(body);
  });

  const look = async (): Promise<{ ok: boolean; body: object }> => {
    const [{ ok, degraded, results }, numbers] = await Promise.all([
      runChecks({ ...checks, ...deep.checks }, onFailed),
      deep.numbers().catch((cause: unknown) => {
        onFailed('numbers', cause);
        return null;
      }),
    ]);
    const fine = ok && numbers !== null;
    return { ok: fine, body: { status: healthStatus({ ok: fine, degraded }), checks: results, numbers } };
  };
  let seen: { at: number; answer: ReturnType<typeof look> } | undefined;
  server.get('/health/deep', async (_request, reply) => {
    if (!seen || performance.now() - seen.at > deepEveryMs) seen = { at: performance.now(), answer: look() };
    const { ok, body } = await seen.answer;
    return reply.code(ok ? 200 : 503).send(body);
  });
}
