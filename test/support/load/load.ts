import { createFlux, successOf, type Transport } from '#sdk';
import { createEventWatch, type EventWatch } from './event-watch.ts';
import { type Installation, loadConnection, loadContract, loadPipeline } from './installation.ts';
import { createIsolationWatch, type IsolationWatch } from './isolation-watch.ts';
import { createLedger, type Ledger, work } from './user.ts';
import { createWatchedFlux } from './watched-client.ts';

export interface LoadOptions {
  agencies: readonly string[];
  usersPerAgency: number;
  records: number;
  batchRecords: number;
  thinkMs: number;
  cancelEvery: number;
}

/** A try of a request. */
export interface Try {
  name: string;
  at: number;
  ms: number;
}

/** Users of several agencies at work. */
export interface Load {
  readonly ledger: Ledger;
  readonly isolation: IsolationWatch;
  readonly events: EventWatch;
  /** Tries that brought an answer, whatever it was. */
  readonly answered: readonly Try[];
  /** Tries that the SDK had to repeat, by their cause. */
  readonly refused: ReadonlyMap<string, number>;
  /** Lets no user start another run. */
  stop(): void;
  /** Lets every user finish the run at hand. */
  finish(): Promise<void>;
}

/** Every third user watches over event streams, the others over WebSocket. */
const transports: readonly Transport[] = ['websocket', 'websocket', 'sse'];

const pipelineOf = (user: number): string => `readings${String(user)}`;

/** Registers what the agencies' users run. */
export async function registerLoad(installation: Installation, options: LoadOptions): Promise<void> {
  for (const agency of options.agencies) {
    const flux = createFlux({
      url: installation.url,
      token: () => installation.token(agency, 'admin', `admin@${agency}.example.gov`),
    });
    successOf(await flux.api.registerConnection({ definition: loadConnection }));
    successOf(await flux.api.registerContract({ name: 'reading', document: loadContract }));
    for (let user = 0; user < options.usersPerAgency; user += 1) {
      const definition = loadPipeline(pipelineOf(user), options.batchRecords);
      successOf(await flux.api.registerPipeline({ definition }));
    }
    flux.close();
  }
}

export function startLoad(installation: Installation, options: LoadOptions): Load {
  const { agencies, usersPerAgency } = options;
  const ledger = createLedger();
  const isolation = createIsolationWatch(agencies);
  const events = createEventWatch();
  const answered: Try[] = [];
  const refused = new Map<string, number>();
  const stopping = new AbortController();
  const tried = (name: string, took: { at: number; ms: number }, refusal?: string): void => {
    if (refusal === undefined) answered.push({ name, ...took });
    else refused.set(refusal, (refused.get(refusal) ?? 0) + 1);
  };
  const one = async (agency: string, user: number): Promise<void> => {
    const flux = createWatchedFlux(
      {
        url: installation.url,
        agency,
        transport: transports[user % transports.length] ?? 'websocket',
        token: () => installation.token(agency, 'operator', `user${String(user)}@${agency}.example.gov`),
      },
      { isolation, events, tried },
    );
    const foreignRun = (): string | undefined => {
      const others = [...ledger.runs.values()].filter((run) => run.agency !== agency);
      return others[Math.floor(Math.random() * others.length)]?.id;
    };
    await work({
      ...options,
      flux,
      agency,
      pipeline: pipelineOf(user),
      foreignRun,
      ledger,
      signal: stopping.signal,
    });
    flux.close();
  };
  const users = agencies.flatMap((agency) => Array.from({ length: usersPerAgency }, (_, user) => one(agency, user)));
  return {
    ledger,
    isolation,
    events,
    answered,
    refused,
    stop: () => stopping.abort(),
    async finish() {
      stopping.abort();
      await Promise.all(users);
    },
  };
}
