import { type ChildProcess, fork } from 'node:child_process';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import type { Logger } from '../telemetry/logger.ts';

import { FluxError } from '../errors.ts';
import { type ChildMessage, isChildMessage } from './messages.ts';

/**
 * One child process and its successors.
 *
 *   starting -> ready -> (ends by itself) -> waiting -> starting ...     until `stop`
 *
 * The first start must become ready, or `startChild` throws; later ones are repeated for ever, ever more slowly.
 */
export interface Child {
  name: string;
  /** Of the process that is ready now. */
  current(): { id: string; pid: number; url: string | undefined; metricsUrl: string | undefined } | undefined;
  /** SIGTERM, then SIGKILL after the grace. Resolves when the process is gone. Idempotent. */
  stop(graceMs: number): Promise<void>;
}

export interface ChildOptions {
  name: string;
  /** Command and arguments of `flux`: `['worker']`. */
  args: readonly string[];
  env: NodeJS.ProcessEnv;
  /** A file for what it prints, or `inherit`. */
  output: number | 'inherit';
  logger: Pick<Logger, 'info' | 'warn' | 'error'>;
  onReady?: (child: { name: string; id: string; pid: number }) => void;
  onExit?: (child: { name: string; pid: number; how: string }) => void;
}

/** A child loads its modules and connects; on a loaded machine that took 6 s at worst. */
const readyDeadlineMs = 60_000;
/** The first restart is quick, because a killed worker's partition waits for nobody; a crash loop slows down. */
const restartWaitMinMs = 100;
const restartWaitMaxMs = 10_000;
/** A child that lived this long has not crashed at its start: the waits begin anew. */
const healthyAfterMs = 30_000;

const entry = path.join(import.meta.dirname, '..', 'cli', 'bin.mjs');

type Ready = Extract<ChildMessage, { type: 'ready' }>;

/** @throws what the child said of its failure to start, or UNAVAILABLE when it ended or was silent */
export async function startChild(options: ChildOptions): Promise<Child> {
  const stopping = new AbortController();
  let process = spawnChild(options);
  let ready: Ready | undefined = await becomesReady(process, options.name);
  options.onReady?.({ name: options.name, id: ready.id, pid: process.pid ?? 0 });

  const keep = async (): Promise<void> => {
    let waitMs = restartWaitMinMs;
    for (;;) {
      const readyAt = Date.now();
      const how = await ended(process);
      ready = undefined;
      options.onExit?.({ name: options.name, pid: process.pid ?? 0, how });
      if (stopping.signal.aborted) return;
      if (Date.now() - readyAt > healthyAfterMs) waitMs = restartWaitMinMs;
      options.logger.warn({ child: options.name, pid: process.pid, how, waitMs }, 'child ended; starting it again');
      await delay(waitMs, undefined, { signal: stopping.signal }).catch(() => undefined);
      waitMs = Math.min(waitMs * 2, restartWaitMaxMs);
      if (stopping.signal.aborted) return;
      process = spawnChild(options);
      try {
        ready = await becomesReady(process, options.name);
        options.onReady?.({ name: options.name, id: ready.id, pid: process.pid ?? 0 });
      } catch (error) {
        options.logger.error({ child: options.name, err: error }, 'child did not start');
      }
    }
  };
  const keeping = keep();

  return {
    name: options.name,
    current: () =>
      ready && process.pid !== undefined
        ? { id: ready.id, pid: process.pid, url: ready.url, metricsUrl: ready.metricsUrl }
        : undefined,
    async stop(graceMs) {
      stopping.abort();
      await endChild(process, graceMs);
      await keeping;
    },
  };
}

/** A worker moves bytes and keeps few objects; V8's own choice for new ones (16 MB for each half) is a fifth of its memory. */
const youngMegabytesOfWorker = 2;

function spawnChild({ args, env, output }: ChildOptions): ChildProcess {
  const flags = args[0] === 'worker' ? [`--max-semi-space-size=${youngMegabytesOfWorker}`] : [];
  return fork(entry, args, {
    env,
    execArgv: [...process.execArgv, ...flags],
    stdio: ['ignore', output, output, 'ipc'],
    // A group of its own: Ctrl-C in the terminal reaches the supervisor alone, which stops the children in order.
    detached: true,
  });
}

async function becomesReady(child: ChildProcess, name: string): Promise<Ready> {
  const deadline = new AbortController();
  try {
    return await new Promise<Ready>((resolve, reject) => {
      const fail = (code: FluxError['code'], message: string): void => reject(new FluxError(code, message));
      child.on('message', (message) => {
        if (!isChildMessage(message)) return;
        if (message.type === 'ready') resolve(message);
        else fail(message.code, message.message);
      });
      child.once('error', (error) =>
        fail('UNAVAILABLE', `The ${name} process could not be started: ${error.message}.`),
      );
      child.once('exit', (code, signal) => {
        fail(
          'UNAVAILABLE',
          `The ${name} process ended with ${signal ?? String(code)} before it was ready. Its log says why.`,
        );
      });
      delay(readyDeadlineMs, undefined, { signal: deadline.signal }).then(
        () =>
          fail(
            'UNAVAILABLE',
            `The ${name} process was not ready after ${String(readyDeadlineMs / 1000)} s. Its log may say why.`,
          ),
        () => undefined,
      );
    });
  } catch (cause) {
    await endChild(child, 0);
    throw cause;
  } finally {
    deadline.abort();
    child.removeAllListeners('message');
  }
}

async function endChild(child: ChildProcess, graceMs: number): Promise<void> {
  if (hasEnded(child)) return;
  if (graceMs > 0) {
    child.kill('SIGTERM');
    const timer = new AbortController();
    await Promise.race([ended(child), delay(graceMs, undefined, { signal: timer.signal }).catch(() => undefined)]);
    timer.abort();
  }
  if (hasEnded(child)) return;
  child.kill('SIGKILL');
  await ended(child);
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
}

/** How the process ended: a signal's name or an exit code. */
function ended(child: ChildProcess): Promise<string> {
  if (hasEnded(child)) return Promise.resolve(child.signalCode ?? String(child.exitCode));
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve(signal ?? String(code)));
  });
}
