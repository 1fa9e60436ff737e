/** Processes of a bench: told their work by IPC, gone with their parent. */
import { type ChildProcess, fork } from 'node:child_process';
import path from 'node:path';

export interface BenchProcess {
  readonly process: ChildProcess;
  /** Resolves with its next message; rejects when it ends first. */
  answer<T>(): Promise<T>;
  ask<T>(order: object | string): Promise<T>;
}

/** Starts a file of this folder. It is to exit when its IPC channel is disconnected. @param execArgv Node's own arguments */
export function startProcess(
  file: string,
  args: readonly string[],
  execArgv: readonly string[] = ['--expose-gc'],
): BenchProcess {
  const process = fork(path.join(import.meta.dirname, file), args, { execArgv: [...execArgv] });
  const answer = <T>(): Promise<T> =>
    new Promise((resolve, reject) => {
      const ended = (code: number | null): void => {
        process.off('message', answered);
        reject(new Error(`${file} ended with ${String(code)}`));
      };
      const answered = (message: unknown): void => {
        process.off('exit', ended);
        resolve(message as T);
      };
      process.once('message', answered);
      process.once('exit', ended);
    });
  return {
    process,
    answer,
    ask<T>(order: object | string): Promise<T> {
      const answered = answer<T>();
      process.send(order);
      return answered;
    },
  };
}

/** Leaves nothing behind when a bench is interrupted: its children end with it, and what `stop` stops before that. */
export function cleanUp(stop: () => Promise<unknown>): void {
  const end = (): void => {
    void stop().finally(() => process.exit(130));
  };
  process.once('SIGINT', end);
  process.once('SIGTERM', end);
}
