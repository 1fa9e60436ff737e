import { FluxError } from '../errors.ts';

export interface GateLimits {
  /** Operations of one agency that run at once in this process. */
  runningMax: number;
  /** Operations of one agency that wait for their turn; one more is refused. */
  waitingMax: number;
  /** Operations that an agency may start, per second on average and at once after a pause. */
  ratePerSecond: number;
  burst: number;
  /** Longest an operation may take, subscriptions apart. */
  executionMs: number;
}

/** A dashboard of a hundred users asks some hundred times a second; a loop without a pause asks thousands. */
export const usualGateLimits: GateLimits = {
  runningMax: 50,
  waitingMax: 500,
  ratePerSecond: 1_000,
  burst: 2_000,
  executionMs: 10_000,
};

/** Lets no agency take the whole server: all transports start their operations through one gate. */
export interface OperationGate {
  /**
   * Runs `work` in its agency's turn; first come, first served.
   *
   * @param onLate told when the time is over, to stop what still runs
   * @throws LIMIT_EXCEEDED too many at once or a second, or the time is over; else what `work` throws
   */
  run<T>(agency: string, work: () => Promise<T> | T, onLate?: () => void): Promise<T>;
  /** As many as are known: an agency that is at rest is forgotten. */
  agencies(): number;
}

interface Agency {
  running: number;
  waiting: (() => void)[];
  tokens: number;
  /** Milliseconds of the monotonic clock. */
  filledAt: number;
}

export function createOperationGate(
  limits: GateLimits = usualGateLimits,
  now: () => number = () => performance.now(),
): OperationGate {
  const agencies = new Map<string, Agency>();
  const agencyOf = (slug: string): Agency => {
    const known = agencies.get(slug);
    if (known) return known;
    sweep();
    const agency: Agency = { running: 0, waiting: [], tokens: limits.burst, filledAt: now() };
    agencies.set(slug, agency);
    return agency;
  };
  const refill = (agency: Agency): void => {
    const at = now();
    agency.tokens = Math.min(limits.burst, agency.tokens + ((at - agency.filledAt) / 1_000) * limits.ratePerSecond);
    agency.filledAt = at;
  };
  const sweep = (): void => {
    for (const [slug, agency] of agencies) {
      refill(agency);
      if (agency.running === 0 && agency.waiting.length === 0 && agency.tokens >= limits.burst) agencies.delete(slug);
    }
  };

  const enter = async (agency: Agency): Promise<void> => {
    refill(agency);
    if (agency.tokens < 1) {
      throw new FluxError(
        'LIMIT_EXCEEDED',
        `The agency starts more than ${String(limits.ratePerSecond)} operations a second. Send fewer, or wait a moment.`,
      );
    }
    agency.tokens -= 1;
    if (agency.running < limits.runningMax) agency.running += 1;
    else if (agency.waiting.length < limits.waitingMax) {
      // Whoever leaves hands over its place, so the count stays.
      await new Promise<void>((resolve) => agency.waiting.push(resolve));
    } else {
      throw new FluxError(
        'LIMIT_EXCEEDED',
        `The agency has ${String(limits.runningMax)} operations under way and ${String(limits.waitingMax)} waiting. Wait for some to end.`,
      );
    }
  };
  const leave = (agency: Agency): void => {
    const next = agency.waiting.shift();
    if (next) next();
    else agency.running -= 1;
  };

  return {
    async run(slug, work, onLate) {
      const agency = agencyOf(slug);
      await enter(agency);
      try {
        return await withinTime(work, limits.executionMs, onLate);
      } finally {
        leave(agency);
      }
    },
    agencies: () => agencies.size,
  };
}

async function withinTime<T>(work: () => Promise<T> | T, ms: number, onLate?: () => void): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(
        new FluxError(
          'LIMIT_EXCEEDED',
          `The operation took more than ${String(ms)} ms and was ended. Ask for less at once.`,
        ),
      );
      onLate?.();
    }, ms);
  });
  try {
    return await Promise.race([work(), late]);
  } finally {
    clearTimeout(timer);
  }
}
