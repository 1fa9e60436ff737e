import { type Flux, isFluxError, type RunEventItem, successOf } from '#sdk';

/** A person at work: starts a run of a pipeline of theirs, watches it to its end and looks around meanwhile, and starts the next. */
export interface UserOptions {
  flux: Flux;
  agency: string;
  pipeline: string;
  /** Records of the source: all of them are good. */
  records: number;
  /** Between two questions. */
  thinkMs: number;
  /** Every so manieth run is cancelled after its first batch, and resumed; 0 for none. */
  cancelEvery: number;
  /** The id of a run of another agency, to ask for what must not be answered. */
  foreignRun(): string | undefined;
  ledger: Ledger;
  signal: AbortSignal;
}

/** What users have done and met. */
export interface Ledger {
  /** Runs that were started, by their id. */
  readonly runs: Map<string, { agency: string; id: string; events: bigint; cancelled: boolean; status: string }>;
  /** What the SDK gave up after all its tries, in words. */
  readonly failures: string[];
  /** Answers that were not right, in words. */
  readonly mistakes: string[];
  /** Questions about other agencies' runs that were answered as if there were none. */
  probes: number;
}

export const createLedger = (): Ledger => ({ runs: new Map(), failures: [], mistakes: [], probes: 0 });

/** Runs until the signal aborts, and then finishes the run at hand. Notes what goes wrong, and goes on. */
export async function work(options: UserOptions): Promise<void> {
  const { ledger, pipeline, signal } = options;
  for (let turn = 1; !signal.aborted; turn += 1) {
    const cancels = options.cancelEvery > 0 && turn % options.cancelEvery === 0;
    try {
      await oneRun(options, cancels);
    } catch (cause) {
      ledger.failures.push(`${pipeline}: ${told(cause)}`);
      await pause(options.thinkMs, signal);
    }
  }
}

const told = (cause: unknown): string => (isFluxError(cause) ? `${cause.code} ${cause.message}` : String(cause));

async function oneRun(options: UserOptions, cancels: boolean): Promise<void> {
  const { flux, agency, pipeline, ledger } = options;
  const { id, runId } = successOf(await flux.api.startRun({ pipeline, reason: 'load' }));
  const run = { agency, id, events: 0n, cancelled: false, status: 'unknown' };
  ledger.runs.set(runId, run);
  const over = new AbortController();
  const looking = lookAround(options, id, over.signal);
  try {
    let end = await watch(options, id, beginning, cancels);
    if (end.status === 'CANCELLED' && cancels) {
      run.cancelled = true;
      successOf(await flux.api.resumeRun({ runId: id, reason: 'load' }));
      end = await watch(options, id, end, false);
    }
    run.status = end.status;
    run.events = end.last;
    await check(options, id, end);
  } finally {
    over.abort();
    await looking;
  }
}

interface End {
  status: string;
  last: bigint;
  cursor: string | null;
}

const beginning: End = { status: 'PENDING', last: 0n, cursor: null };

/** Follows a run to the end of an attempt. */
async function watch({ flux, ledger }: UserOptions, id: string, from: End, cancels: boolean): Promise<End> {
  let { last } = from;
  let cancelling = cancels;
  for await (const item of flux.runs.watch(id, { after: from.cursor })) {
    if (item.__typename === 'StreamEnd') return { status: item.status, last, cursor: item.cursor };
    if (item.__typename === 'StreamGap') {
      ledger.mistakes.push(`${id}: a gap from ${item.fromSeq} to ${item.toSeq}`);
      continue;
    }
    const seq = BigInt(item.seq);
    if (seq !== last + 1n) {
      ledger.mistakes.push(`${id}: the client was handed event ${item.seq} after ${String(last)}`);
    }
    last = seq;
    if (cancelling && isBatch(item)) {
      cancelling = false;
      // It may be over by now, which is no fault.
      await flux.api.cancelRun({ runId: id, reason: 'load' });
    }
  }
  throw new Error(`${id}: the events ended without an end`);
}

const isBatch = (item: RunEventItem): boolean => 'name' in item && item.name === 'BatchCommitted';

/** Holds a finished run to what it has to be. */
async function check({ flux, ledger, records, pipeline, agency }: UserOptions, id: string, end: End): Promise<void> {
  const wrong = (what: string): void => void ledger.mistakes.push(`${id} of ${agency}: ${what}`);
  const run = await flux.api.run({ id });
  if (run?.status !== 'COMPLETED' || end.status !== 'COMPLETED') {
    return wrong(`ended ${end.status}: ${run?.failure?.message ?? 'no failure is told'}`);
  }
  if (run.lastSeq !== String(end.last)) wrong(`has ${run.lastSeq} events, and ${String(end.last)} came`);
  const { reconciliation } = run;
  if (reconciliation?.balanced !== true || reconciliation.recordsWritten !== String(records)) {
    wrong(`is to have ${String(records)} records, and has ${JSON.stringify(reconciliation)}`);
  }
  const log = await flux.api.runEventLog({ runId: id, first: 100 });
  const seqs = log.edges.map(({ node }) => node.seq);
  if (seqs.some((seq, i) => seq !== String(i + 1))) wrong(`its log reads ${seqs.join(' ')}`);
  const dataset = await flux.api.dataset({ name: pipeline, preview: true, records: 10 });
  const rows = dataset?.preview?.rows ?? [];
  if (rows.length === 0 || rows.some(({ values }) => !JSON.stringify(values).includes(agency))) {
    wrong(`its dataset shows ${JSON.stringify(rows).slice(0, 200)}`);
  }
}

/** Asks one thing after the other, as pages of a dashboard do. */
async function lookAround(options: UserOptions, id: string, signal: AbortSignal): Promise<void> {
  const { flux, ledger, thinkMs, pipeline } = options;
  const questions: (() => Promise<unknown>)[] = [
    () => flux.api.runs({ first: 20 }),
    () => flux.api.run({ id }),
    () => flux.api.runEventLog({ runId: id, last: 50 }),
    () => probe(options),
    () => flux.api.runProgress({ id }),
    () => flux.api.pipelines({ first: 20 }),
    () => flux.api.runs({ first: 20, filter: { pipeline } }),
    () => flux.api.runCheckpoints({ id, first: 10 }),
    () => flux.api.datasets({ first: 20 }),
  ];
  for (let turn = 0; !signal.aborted; turn += 1) {
    try {
      await questions[turn % questions.length]?.();
    } catch (cause) {
      ledger.failures.push(`${pipeline}: ${told(cause)}`);
    }
    await pause(thinkMs * (0.5 + Math.random()), signal);
  }
}

/** Asks for a run of another agency by its id, as one who has heard of it would. */
async function probe({ flux, foreignRun, ledger, agency }: UserOptions): Promise<void> {
  const id = foreignRun();
  if (id === undefined) return;
  const [run, log] = await Promise.all([
    flux.api.run({ id }),
    flux.api.runEventLog({ runId: id, first: 1 }).catch((cause: unknown) => {
      if (isFluxError(cause, 'NOT_FOUND')) return null;
      throw cause;
    }),
  ]);
  ledger.probes += 1;
  if (run || log) ledger.mistakes.push(`${agency} could read the run ${id} of another agency`);
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
  });
}
