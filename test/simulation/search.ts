import type { PlantedBug } from './bugs.ts';
import { type Outcome, simulate } from './simulate.ts';

/** What a great many schedules came to. */
export interface Search {
  schedules: number;
  /** How often each fault happened. */
  faults: Map<string, number>;
  /** How often runs ended in each state. */
  endings: Map<string, number>;
  /** The first schedule that broke an invariant. */
  failed: Outcome | null;
}

/** Works schedules of consecutive seeds until one breaks an invariant. */
export function search(from: number, count: number, bug: PlantedBug | null = null): Search {
  // Errors are thrown by the thousand, and nobody reads where.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  const found: Search = { schedules: 0, faults: new Map(), endings: new Map(), failed: null };
  try {
    while (found.schedules < count && found.failed === null) {
      const outcome = simulate(from + found.schedules, bug);
      found.schedules += 1;
      for (const fault of outcome.faults) found.faults.set(fault, (found.faults.get(fault) ?? 0) + 1);
      found.endings.set(outcome.status, (found.endings.get(outcome.status) ?? 0) + 1);
      if (outcome.violations.length > 0) found.failed = outcome;
    }
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
  return found;
}

/** What a person needs to look into it. */
export function report({ seed, status, violations, faults, history }: Outcome): string {
  return [
    `Seed ${String(seed)} broke the engine; the run is ${status}. Again, alone:`,
    `  FLUX_SIMULATION_SEED=${String(seed)} npx vitest run --project unit test/unit/simulation`,
    ...violations.map((violation) => `  ${violation}`),
    `  faults: ${faults.join(', ')}`,
    ...history().map((event) => `    ${event}`),
  ].join('\n');
}
