/**
 * What a child process tells its supervisor over IPC: once that it is ready, or once why it cannot be. The supervisor says
 * nothing but SIGTERM; its end is the end of the channel, on which a child exits at once (what it held is taken over).
 */
import type { ErrorCode } from '../errors.ts';

export type ChildMessage =
  | { type: 'ready'; id: string; url?: string; metricsUrl?: string }
  | { type: 'failed'; code: ErrorCode; message: string };

export function isChildMessage(message: unknown): message is ChildMessage {
  const type = (message as { type?: unknown } | null)?.type;
  return type === 'ready' || type === 'failed';
}
