import { type ChildProcess, fork } from 'node:child_process';
import { type ErrorCode, type ErrorDetails, FluxError } from '../errors.ts';
import type { Contract } from './contract.ts';
import { refuse } from './issues.ts';
import { sizeIssues } from './limits.ts';

/** What one contract may take while it is read and compiled, and the program that does it. */
export interface ApartOptions {
  /** Of one contract, until the child is killed; the usual one takes milliseconds. */
  timeoutMs?: number;
  /** Heap of the child's JavaScript. */
  heapMegabytes?: number;
  program?: URL;
}

/** What the child says: once that it is there, then once for each document. */
export type ApartReply =
  { ready: true } | { contract: Contract } | { error: { code: ErrorCode; message: string; details: ErrorDetails } };

/** A host that is busy starts processes slowly, which is no contract's fault. */
const startMsMax = 30_000;
/** A child that nobody needs holds memory that others may. */
const idleMs = 30_000;

/** What became of a child instead of a reply. */
type Ended = { ended: 'time' | 'memory' | 'start' | 'otherwise'; how: string };

/**
 * Validates contracts in a process of its own, one after the other. The limits keep what is known to be dear away from Ajv; what
 * nobody thought of ends a child, and not the process that answers everybody.
 */
export class ContractValidator {
  readonly #timeoutMs: number;
  readonly #heapMegabytes: number;
  readonly #program: URL;
  #child: ChildProcess | null = null;
  #idle: NodeJS.Timeout | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor({ timeoutMs = 5_000, heapMegabytes = 128, program }: ApartOptions = {}) {
    this.#timeoutMs = timeoutMs;
    this.#heapMegabytes = heapMegabytes;
    this.#program = program ?? new URL('./validate-child.ts', import.meta.url);
  }

  /**
   * `validateContract`, elsewhere. Only what a child could not be sent is looked at here: size and depth.
   *
   * @throws CONTRACT_INVALID as there; with the rule `compileTime` or `compileMemory` where a child was ended for it
   * @throws UNAVAILABLE a child could not be started, or was ended by somebody else
   */
  async validate(document: unknown): Promise<Contract> {
    const issues = sizeIssues(document);
    if (issues.length > 0) refuse('CONTRACT_INVALID', 'The contract is not valid', issues);
    const turn = this.#last.then(() => this.#validateNow(document));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #validateNow(document: unknown): Promise<Contract> {
    const used = this.#child !== null;
    let reply = await this.#ask(document);
    // What a child's earlier contracts have left, or who killed it while it idled, is not this one's fault.
    if ('ended' in reply && used && reply.ended !== 'time') reply = await this.#ask(document);
    if ('ended' in reply) throw this.#failure(reply);
    if ('error' in reply) throw new FluxError(reply.error.code, reply.error.message, { details: reply.error.details });
    if ('contract' in reply) return reply.contract;
    throw this.#failure({ ended: 'otherwise', how: 'answered out of turn' });
  }

  async #ask(document: unknown): Promise<ApartReply | Ended> {
    clearTimeout(this.#idle);
    const child = this.#child ?? this.#start();
    const kill = (): boolean => child.kill('SIGKILL');
    process.once('exit', kill);
    try {
      if (this.#child === null) {
        const ready = await replyOf(child, startMsMax);
        if ('ended' in ready) return ready.ended === 'time' ? { ...ready, ended: 'start' } : ready;
        this.#child = child;
      }
      child.ref();
      child.channel?.ref();
      const replied = replyOf(child, this.#timeoutMs);
      // Where it cannot be sent the child is gone, and its end is the reply.
      child.send({ document }, () => undefined);
      const reply = await replied;
      if ('ended' in reply) this.#child = null;
      else this.#rest(child);
      return reply;
    } finally {
      process.removeListener('exit', kill);
      if (this.#child !== child) kill();
    }
  }

  #start(): ChildProcess {
    return fork(this.#program, {
      // The environment of the API holds secrets, and a contract is a stranger's.
      env: { TZ: 'UTC', LANG: 'C.UTF-8', NODE_NO_WARNINGS: '1' },
      execArgv: [`--max-old-space-size=${this.#heapMegabytes}`],
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
  }

  /** Keeps no process alive that wants to end; the child ends with the channel. */
  #rest(child: ChildProcess): void {
    child.unref();
    child.channel?.unref();
    this.#idle = setTimeout(() => {
      if (this.#child === child) this.#child = null;
      child.kill('SIGKILL');
    }, idleMs).unref();
  }

  #failure({ ended, how }: Ended): FluxError {
    const [rule, message] =
      ended === 'time'
        ? ['compileTime', `takes longer than ${this.#timeoutMs} ms to compile`]
        : ['compileMemory', `takes more than ${this.#heapMegabytes} MB to compile`];
    if (ended === 'time' || ended === 'memory') {
      return new FluxError('CONTRACT_INVALID', `The contract ${message}, and was given up. Simplify it.`, {
        details: { issues: [{ path: '', rule, message }] },
      });
    }
    return new FluxError('UNAVAILABLE', `The process that compiles contracts ${how}. Try again.`);
  }
}

/** The child's next message, or how it ended; one that says nothing in time is killed. */
function replyOf(child: ChildProcess, timeoutMs: number): Promise<ApartReply | Ended> {
  return new Promise((resolve) => {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      if (!child.kill('SIGKILL')) onExit(null, 'SIGKILL');
    }, timeoutMs);
    const settle = (reply: ApartReply | Ended): void => {
      clearTimeout(timer);
      child.off('message', settle).off('exit', onExit).off('error', onError);
      // The pipe may break behind the answer, which then is nobody's failure.
      child.on('error', () => undefined);
      resolve(reply);
    };
    const onError = ({ message }: Error): void => settle({ ended: 'otherwise', how: `cannot be reached (${message})` });
    const onExit = (code: number | null, signal: string | null): void => {
      if (late) settle({ ended: 'time', how: `did not answer within ${timeoutMs} ms` });
      else if (signal === 'SIGABRT' || code === 134) settle({ ended: 'memory', how: 'ran out of memory' });
      else settle({ ended: 'otherwise', how: `ended with ${signal ?? `code ${code}`}` });
    };
    child.on('message', settle).on('exit', onExit).on('error', onError);
  });
}
