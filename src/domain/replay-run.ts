import { canonicalBytes } from '../canonical-json.ts';
import { sha256Hex } from '../crypto/hash.ts';
import type { Connection } from '../db/pool.ts';
import { readForReplay } from '../db/run-replay.ts';
import { unknownRun } from '../events/read-after.ts';
import type { Caller, DomainDeps } from './caller.ts';
import { perform } from './perform.ts';
import { comparable, type DerivedState, deriveState, withoutExpired } from './replay.ts';
import type { ControlRun } from './run-control.ts';

/** Whether a run's history and its state agree. */
export interface Replay {
  runId: string;
  /** Events that were read, from the first on. */
  eventCount: number;
  /** SHA-256, hex, of the canonical JSON of the state that the events give; null when they give none. */
  derivedHash: string | null;
  /** The same of the state in the tables. */
  storedHash: string;
  matches: boolean;
  /** Where they differ, in words. */
  differences: string[];
}

/**
 * Derives a run's state from its events alone and compares it with the one in the tables. Changes nothing but the audit log.
 *
 * @throws NOT_FOUND
 */
export async function replayRun(deps: DomainDeps, caller: Caller, input: ControlRun): Promise<Replay> {
  const { value } = await perform<Replay, void>(deps, caller, {
    action: 'run.replay',
    resourceType: 'run',
    resourceId: input.runId,
    reason: input.reason,
    idempotencyKey: input.idempotencyKey,
    request: { runId: input.runId },
    check: () => undefined,
    change: async (tx) => {
      const replay = await replayOf(tx, input.runId);
      return { value: replay, resourceId: input.runId, reference: { runId: input.runId }, after: replay };
    },
    again: (tx) => replayOf(tx, input.runId),
  });
  return value;
}

async function replayOf(tx: Connection, runId: string): Promise<Replay> {
  const read = await readForReplay(tx, runId);
  if (!read) throw unknownRun(runId);
  const stored = comparable(read.stored);
  const told = derive(read.events);
  const derived = typeof told === 'string' ? told : withoutExpired(told, stored);
  const differences = typeof derived === 'string' ? [derived] : differencesOf(derived, stored);
  const derivedHash = typeof derived === 'string' ? null : hashOf(derived);
  const storedHash = hashOf(stored);
  return {
    runId,
    eventCount: read.events.length,
    derivedHash,
    storedHash,
    matches: derivedHash === storedHash,
    differences,
  };
}

/** @returns the state, or why the events give none */
function derive(events: Parameters<typeof deriveState>[0]): DerivedState | string {
  try {
    return deriveState(events);
  } catch (cause) {
    if (cause instanceof TypeError) return `The events give no state: ${cause.message}.`;
    throw cause;
  }
}

function hashOf(state: DerivedState): string {
  return sha256Hex(canonicalBytes(state));
}

function differencesOf(derived: DerivedState, stored: DerivedState): string[] {
  const names = ['status', 'attempt', 'lastSeq', 'failureCode'] as const;
  const count = Math.max(derived.partitions.length, stored.partitions.length);
  return [
    ...names.flatMap((name) => difference(name, derived[name], stored[name])),
    ...Array.from({ length: count }, (_, i) => i).flatMap((i) => {
      const told = derived.partitions[i];
      const kept = stored.partitions[i];
      const keys = Object.keys(told ?? kept ?? {}) as (keyof NonNullable<typeof told>)[];
      return keys.flatMap((key) => difference(`partition ${String(i)}, ${key}`, told?.[key], kept?.[key]));
    }),
  ];
}

function difference(name: string, derived: unknown, stored: unknown): string[] {
  return derived === stored ? [] : [`${name}: the events give ${String(derived)}, the tables have ${String(stored)}`];
}
