import { type ChildProcess, fork } from 'node:child_process';
import { FluxError, retryPromise } from '../errors.ts';
import type { ChildReply, ChildRequest } from './protocol.ts';

/** Heap of the child's JavaScript, megabytes; DuckDB's memory comes on top and has its own limit. */
const heapMegabytes = 192;
/** Of each half of what V8 keeps for new objects. Its own choice, 16, costs 30 MB and saves no time: a batch leaves few objects behind. */
const youngMegabytes = 2;
/**
 * What the heap grows by, of what lives in it, before all of it is looked through. Little lives in it, and the copies that DuckDB's interface makes
 * of each vector count too, so that V8's own choice is once a batch: a tenth of the child's time.
 */
const heapGrowthPercent = 100;
const stderrCharacterCountMax = 4000;

type Ask<R = ChildRequest> = R extends ChildRequest ? Omit<R, 'id'> : never;
interface Waiting {
  resolve(value: unknown): void;
  reject(cause: unknown): void;
  timer: NodeJS.Timeout;
}

/**
 * A DuckDB child and the requests that wait for it. When it dies, every request fails with UNAVAILABLE, which a new taking of
 * the partition may heal; when the signal aborts, it is killed and they fail with the signal's reason.
 */
export class EtlChild {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  #signal: AbortSignal;
  readonly #onAbort: () => void;
  #lastId = 0;
  #stderr = '';
  #ended: Error | null = null;
  #exited: Promise<void>;

  /** @param codeFolder where Node keeps what it compiles of our sources for the children that follow; absent: nowhere */
  constructor(signal: AbortSignal, codeFolder?: string) {
    signal.throwIfAborted();
    this.#signal = signal;
    this.#process = fork(new URL('./duckdb-child.ts', import.meta.url), {
      // Advanced serialisation carries numbers and arrays as they are; the environment of the worker holds secrets.
      serialization: 'advanced',
      env: {
        TZ: 'UTC',
        LANG: 'C.UTF-8',
        NODE_NO_WARNINGS: '1',
        // One arena: what a thread of DuckDB has let go of serves the next that asks (glibc keeps it for each thread otherwise).
        MALLOC_ARENA_MAX: '1',
        // One thread for what DuckDB is asked, one thing at a time: of several each has the next chunk's turn, and none finds its data near.
        UV_THREADPOOL_SIZE: '1',
        ...(codeFolder === undefined ? {} : { NODE_COMPILE_CACHE: codeFolder }),
      },
      execArgv: [
        `--max-old-space-size=${heapMegabytes}`,
        `--max-semi-space-size=${youngMegabytes}`,
        `--heap-growing-percent=${heapGrowthPercent}`,
      ],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    this.#process.on('message', (reply: ChildReply) => this.#settle(reply));
    this.#process.on('error', (cause) => this.#end(unavailable(`could not be started (${cause.message})`, cause)));
    this.#process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-stderrCharacterCountMax);
    });
    this.#exited = new Promise((resolve) => {
      this.#process.on('exit', (code, signalName) => {
        this.#end(
          unavailable(
            `ended with ${signalName ?? `code ${code}`}${this.#stderr === '' ? '' : `: ${this.#stderr.trim()}`}`,
          ),
        );
        resolve();
      });
    });
    this.#onAbort = () => {
      this.#end(reasonOf(this.#signal));
      this.#process.kill('SIGKILL');
    };
    signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** It works for nobody: no abort ends it, and it does not keep this process from ending. */
  detach(): void {
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#process.unref();
    this.#process.channel?.unref();
  }

  /** Works under another signal from here on. @returns false: it has ended, or the signal was aborted */
  attach(signal: AbortSignal): boolean {
    if (this.#ended !== null || signal.aborted) return false;
    this.#signal = signal;
    signal.addEventListener('abort', this.#onAbort, { once: true });
    this.#process.ref();
    this.#process.channel?.ref();
    return true;
  }

  get hasEnded(): boolean {
    return this.#ended !== null;
  }

  /** Resident pages are the operator's concern; tests and metrics ask by this number. */
  get pid(): number | undefined {
    return this.#process.pid;
  }

  /**
   * @param timeoutMs after which the child is killed: the answer may never come
   * @throws UNAVAILABLE the child died or took too long; otherwise what the child threw
   */
  ask<T>(request: Ask, timeoutMs: number): Promise<T> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#end(unavailable(`did not answer "${request.ask}" within ${timeoutMs} ms`));
        this.#process.kill('SIGKILL');
      }, timeoutMs);
      this.#waiting.set(id, { resolve: resolve, reject, timer });
      this.#process.send({ id, ...request }, (cause) => {
        if (cause !== null) this.#end(unavailable(`cannot be reached (${cause.message})`, cause));
      });
    });
  }

  /** Kills the child and waits until it is gone. Idempotent. */
  async stop(): Promise<void> {
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#end(unavailable('was stopped'));
    if (this.#process.pid === undefined) return;
    // Whoever waits for its end must not end before, also where nothing else keeps this process.
    this.#process.ref();
    // Nothing that it holds is worth a polite end: what counts is committed by the parent.
    this.#process.kill('SIGKILL');
    await this.#exited;
  }

  #settle(reply: ChildReply): void {
    const waiting = this.#waiting.get(reply.id);
    if (waiting === undefined) return;
    this.#waiting.delete(reply.id);
    clearTimeout(waiting.timer);
    if (reply.ok) waiting.resolve(reply.value);
    else waiting.reject(new FluxError(reply.error.code, reply.error.message, { details: reply.error.details }));
  }

  #end(reason: Error): void {
    this.#ended ??= reason;
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(this.#ended);
    }
    this.#waiting.clear();
  }
}

function unavailable(what: string, cause?: unknown): FluxError {
  return new FluxError(
    'UNAVAILABLE',
    `The DuckDB process ${what}. ${retryPromise}`,
    cause === undefined ? {} : { cause },
  );
}

/** An abort's reason may be anything; a rejection is an Error. */
function reasonOf(signal: AbortSignal): Error {
  const reason: unknown = signal.reason;
  return reason instanceof Error ? reason : new Error('aborted', { cause: reason });
}
