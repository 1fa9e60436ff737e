/**
 * Failpoints of a worker's process. Nothing of the product knows of them: the test's own worker process wraps the driver, where
 * every statement of the worker passes, and the engine that it hands to startWorker().
 */
import { appendFileSync } from 'node:fs';

import pg from 'pg';

import type { Batch, EtlEngine } from '../../src/etl/engine-types.ts';

/** Where a statement belongs, by what only it says. */
const statements: readonly [string, RegExp][] = [
  ['claim', /flux\.claim_partition/],
  ['record holder', /set holder_pid = pg_backend_pid\(\)/],
  ['fence', /for key share/],
  ['insert rows', /^copy /],
  ['rejected records', /insert into flux\.rejected_records/],
  ['counts', /set records_read =/],
  ['checkpoint', /flux\.save_checkpoint/],
  ['audit', /flux\.append_audit/],
  ['event', /insert into flux\.run_events/],
  ['publish', /attach partition/],
  ['COMMIT', /^commit$/],
];

/** All points, in the order in which a batch passes them. `sent` of COMMIT is after the bytes have left and before any answer. */
export const failpoints: readonly string[] = [
  ...['claim', 'record holder', 'fence'].flatMap((name) => [`before ${name}`, `after ${name}`]),
  ...['read batch', 'transform'].flatMap((name) => [`before ${name}`, `after ${name}`]),
  ...['insert rows', 'rejected records', 'counts', 'checkpoint', 'audit', 'event', 'publish'].flatMap((name) => [
    `before ${name}`,
    `after ${name}`,
  ]),
  'before COMMIT',
  'sent COMMIT',
  'after COMMIT',
];

export type FailpointAction = 'kill' | 'stop';

/** What a process is told over IPC. */
export type Command =
  /** `skip`: how often the point is passed before. */
  | { arm: string; action: FailpointAction; skip: number }
  | { block: number }
  /** The wall clock jumps; timers and the monotonic clock do not. */
  | { clock: number };

/** One line of a process's journal, which outlives its SIGKILL. */
export type JournalLine =
  | { kind: 'hit'; point: string; at: number }
  | { kind: 'attempted' | 'acknowledged'; run: string; partition: number; version: number; hash: string };

let armed: { arm: string; action: FailpointAction; skip: number } | null = null;
let journalFile = '';

export function installFailpoints(journal: string): void {
  journalFile = journal;
  process.on('message', (command: Command) => obey(command));
  wrapDriver();
}

function obey(command: Command): void {
  if ('arm' in command) armed = command;
  else if ('block' in command) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, command.block);
  else jump(command.clock);
}

function jump(ms: number): void {
  const Real = Date;
  globalThis.Date = class extends Real {
    constructor(...given: [] | [number | string | Date]) {
      if (given.length === 0) super(Real.now() + ms);
      else super(given[0]);
    }
    static override now(): number {
      return Real.now() + ms;
    }
  } as DateConstructor;
}

const note = (line: JournalLine): void => appendFileSync(journalFile, `${JSON.stringify(line)}\n`);

/** Where a process may end. Does not return when it is killed; goes on where it stopped after a SIGCONT. */
export function reach(point: string): void {
  if (armed?.arm !== point || armed.skip-- > 0) return;
  const { action } = armed;
  armed = null;
  note({ kind: 'hit', point, at: Date.now() });
  process.kill(process.pid, action === 'kill' ? 'SIGKILL' : 'SIGSTOP');
}

interface Saving {
  run: string;
  partition: number;
  version: number;
  hash: string;
}

function wrapDriver(): void {
  const prototype = pg.Client.prototype as unknown as { query(...given: unknown[]): unknown };
  const original = prototype.query;
  const saving = new WeakMap<object, Saving>();
  prototype.query = function (this: object, ...given: unknown[]): unknown {
    const config = given[0] as { text?: string; values?: unknown[] } | string;
    const text = (typeof config === 'string' ? config : (config.text ?? '')).trim();
    const point = statements.find(([, pattern]) => pattern.test(text))?.[0];
    if (point === undefined) return original.apply(this, given);
    if (point === 'checkpoint') saving.set(this, noteAttempt(config as { values: unknown[] }));
    reach(`before ${point}`);
    const done = (): void => {
      if (point === 'COMMIT') noteAcknowledged(saving, this);
      reach(`after ${point}`);
    };
    const last = given.at(-1);
    if (typeof last === 'function') {
      given[given.length - 1] = (...answer: unknown[]) => {
        if (answer[0] === null || answer[0] === undefined) done();
        (last as (...answer: unknown[]) => void)(...answer);
      };
    }
    const sent = original.apply(this, given);
    reach(`sent ${point}`);
    if (sent instanceof Promise) {
      return sent.then((value: unknown) => {
        done();
        return value;
      });
    }
    // COPY answers with itself: it is done when its rows are confirmed.
    if (point === 'insert rows') (sent as { done: Promise<number> }).done.then(done, () => undefined);
    return sent;
  };
}

function noteAttempt({ values }: { values: unknown[] }): Saving {
  const [run, partition, version] = values as [string, number, number];
  const hash = (values.filter(Buffer.isBuffer).at(-1) as Buffer).toString('hex');
  const saved = { run, partition, version, hash };
  note({ kind: 'attempted', ...saved });
  return saved;
}

function noteAcknowledged(saving: WeakMap<object, Saving>, client: object): void {
  const saved = saving.get(client);
  if (saved === undefined) return;
  saving.delete(client);
  note({ kind: 'acknowledged', ...saved });
}

/** The engine's own points. */
export function withFailpoints(engine: EtlEngine): EtlEngine {
  return {
    ...engine,
    async *openBatches(request) {
      const batches = engine.openBatches(request)[Symbol.asyncIterator]();
      try {
        for (;;) {
          reach('before read batch');
          const next: IteratorResult<Batch, unknown> = await batches.next();
          if (next.done === true) return;
          reach('after read batch');
          yield next.value;
        }
      } finally {
        await batches.return?.();
      }
    },
  };
}
