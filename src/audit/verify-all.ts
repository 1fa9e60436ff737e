import type { AnchoredNote } from './anchor.ts';
import { CompactRange } from './compact-range.ts';
import { hashLeaf } from './merkle.ts';
import { openNote, originOf, readNote, type TrustedKey } from './signed-note.ts';
import { type LogSource, type Verification, verifyLog } from './verify.ts';

/** Everything there is to verify: the agencies' logs and the log whose leaves are their checkpoints. */
export interface WholeSource {
  installation: string;
  logs: readonly (Omit<LogSource, 'notes' | 'origin'> & { notes: readonly string[] })[];
  /** The leaves of the log of logs with their places, in order; null when the source has one agency only. */
  logOfLogs: readonly { logNo: number; note: string }[] | null;
}

export interface WholeVerification {
  holds: boolean;
  agencies: Verification[];
  /** What is wrong beyond a single agency's entries. */
  problems: string[];
}

/** @param anchored what the anchor holds; checkpoints of other installations in it are passed over */
export async function verifyAll(
  source: WholeSource,
  anchored: readonly AnchoredNote[],
  keys: readonly TrustedKey[],
): Promise<WholeVerification> {
  const { installation } = source;
  const agencies: Verification[] = [];
  for (const log of source.logs) {
    const origin = originOf(installation, log.agency);
    const outside = anchored.filter(({ checkpoint }) => checkpoint.origin === origin).map(({ note }) => note);
    agencies.push(await verifyLog({ ...log, origin, notes: [...log.notes, ...outside] }, keys));
  }
  const problems = source.logOfLogs ? logOfLogsProblems(source, source.logOfLogs, anchored, keys) : [];
  return { holds: problems.length === 0 && agencies.every((one) => one.problems.length === 0), agencies, problems };
}

function logOfLogsProblems(
  { installation, logs }: WholeSource,
  leaves: readonly { logNo: number; note: string }[],
  anchored: readonly AnchoredNote[],
  keys: readonly TrustedKey[],
): string[] {
  const problems: string[] = [];
  const present = new Set(logs.map(({ agency }) => originOf(installation, agency)));
  const whole = originOf(installation, null);
  const known = new Set(anchored.map(({ checkpoint }) => checkpoint.origin));
  for (const origin of known) {
    if (origin.startsWith(`flux/${installation}/`) && origin !== whole && !present.has(origin)) {
      problems.push(`The log ${origin} was signed and is gone, from its first entry on.`);
    }
  }
  const signed = new Map<number, Buffer>();
  for (const { note, checkpoint } of anchored) {
    if (checkpoint.origin !== whole) continue;
    const opened = openNote(note, keys);
    if ('problem' in opened) problems.push(`Log of logs at ${String(checkpoint.size)}: ${opened.problem}.`);
    else signed.set(checkpoint.size, checkpoint.root);
  }
  const range = new CompactRange();
  for (const { logNo, note } of leaves) {
    if (logNo !== range.size) {
      problems.push(`The log of logs has no checkpoint ${String(range.size)}: an agency's checkpoints were removed.`);
      return problems;
    }
    range.append(hashLeaf(Buffer.from(note)));
    const root = signed.get(range.size);
    if (root && !root.equals(range.root())) {
      const origin = readNote(note)?.origin ?? 'an unreadable log';
      problems.push(`The log of logs differs from what was signed, at or before ${String(logNo)} (${origin}).`);
      return problems;
    }
  }
  const most = Math.max(0, ...signed.keys());
  if (range.size < most) problems.push(`The log of logs ends at ${String(range.size)}; ${String(most)} were signed.`);
  return problems;
}
