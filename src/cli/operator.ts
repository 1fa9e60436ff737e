import { userInfo } from 'node:os';

/** Who gives a platform command, for the audit log: `operator:` and the user of this machine, by number where it has no name (a container). */
export function operatorName(): string {
  try {
    return `operator:${userInfo().username}`;
  } catch {
    return `operator:uid-${String(process.getuid?.() ?? 'unknown')}`;
  }
}
