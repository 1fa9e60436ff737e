const checkMs = 2_000;

/** Resolves when the thing is usable. */
export interface HealthCheck {
  (): Promise<unknown>;
  /** What it asks can be done without: it is reported, and the process serves on. */
  dispensable?: true;
}

/** A check of what makes things faster and nothing possible. */
export function dispensable(check: () => Promise<unknown>): HealthCheck {
  return Object.assign(() => check(), { dispensable: true as const });
}

export interface CheckResult {
  status: 'ok' | 'failed';
  /** How long it took, milliseconds. */
  ms: number;
}

/** Asks all at once; what has not answered within two seconds has failed. */
export async function runChecks(
  checks: Readonly<Record<string, HealthCheck>>,
  onFailed: (name: string, cause: unknown) => void,
): Promise<{ ok: boolean; degraded: boolean; results: Record<string, CheckResult> }> {
  const results = await Promise.all(
    Object.entries(checks).map(async ([name, check]): Promise<[string, CheckResult]> => {
      const startedAt = performance.now();
      const status = await withinTime(check()).then(
        () => 'ok' as const,
        (cause: unknown) => {
          onFailed(name, cause);
          return 'failed' as const;
        },
      );
      return [name, { status, ms: Math.round((performance.now() - startedAt) * 10) / 10 }];
    }),
  );
  const failed = results.filter(([, { status }]) => status === 'failed').map(([name]) => name);
  const ok = failed.every((name) => checks[name]?.dispensable);
  return { ok, degraded: ok && failed.length > 0, results: Object.fromEntries(results) };
}

/** As `/health/ready` answers. Says what failed and never why, since anyone may ask; the log does. */
export async function readiness(
  checks: Readonly<Record<string, HealthCheck>>,
  onFailed: (name: string, cause: unknown) => void,
): Promise<{ code: 200 | 503; body: { status: HealthStatus; checks: Record<string, 'ok' | 'failed'> } }> {
  const { ok, degraded, results } = await runChecks(checks, onFailed);
  const named = Object.entries(results).map(([name, { status }]) => [name, status] as const);
  return { code: ok ? 200 : 503, body: { status: healthStatus({ ok, degraded }), checks: Object.fromEntries(named) } };
}

/** `degraded`: something is away that can be done without. */
export type HealthStatus = 'ok' | 'degraded' | 'failed';

export function healthStatus({ ok, degraded }: { ok: boolean; degraded: boolean }): HealthStatus {
  if (!ok) return 'failed';
  return degraded ? 'degraded' : 'ok';
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
