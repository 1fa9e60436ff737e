import { createFlux, type Flux, type Transport } from '#sdk';
import type { EventStream, EventWatch } from './event-watch.ts';
import type { IsolationWatch } from './isolation-watch.ts';

export interface Watches {
  isolation: IsolationWatch;
  events: EventWatch;
  /** Told of each try of a request: what it asked, how long it took, and why it brought no answer to use. */
  tried(name: string, took: { at: number; ms: number }, refusal?: string): void;
}

/** A client of the SDK that has everything looked through which it is answered, before the SDK itself sees it. */
export function createWatchedFlux(
  options: { url: string; agency: string; transport: Transport; token: () => Promise<string> },
  watches: Watches,
): Flux {
  const { url, agency, transport, token } = options;
  return createFlux({
    url,
    token,
    transports: [transport],
    fetch: (target, init) => watchedFetch(agency, watches, target, init),
    webSocket: watchedSocket(agency, watches),
  });
}

async function watchedFetch(
  agency: string,
  { isolation, events, tried }: Watches,
  ...given: Parameters<typeof fetch>
): Promise<Response> {
  const asked = given[1]?.body as string;
  const name = /\b(?:query|mutation|subscription) (\w+)/.exec(asked)?.[1] ?? 'unnamed';
  const startedAt = performance.now();
  const at = Date.now();
  const over = (refusal?: string): void => tried(name, { at, ms: performance.now() - startedAt }, refusal);
  let response: Response;
  try {
    response = await fetch(...given);
  } catch (cause) {
    if (given[1]?.signal?.aborted !== true) over('no answer');
    throw cause;
  }
  const { body } = response;
  if (body !== null && response.headers.get('content-type')?.startsWith('text/event-stream') === true) {
    const stream = events.open(asked);
    return new Response(body.pipeThrough(watchedEvents(agency, isolation, stream, asked)), response);
  }
  const text = await response.text().catch((cause: unknown) => {
    over('broken off');
    throw cause;
  });
  isolation.see(agency, text, asked);
  // Of what is asked, an answer of 400 says why it is not given.
  over(response.status === 429 || response.status >= 500 ? String(response.status) : undefined);
  return new Response(text, response);
}

/** Lets an event stream pass, and looks at each of its results once it is whole. */
function watchedEvents(
  agency: string,
  isolation: IsolationWatch,
  stream: EventStream | null,
  asked: string,
): TransformStream<Uint8Array, Uint8Array> {
  const decoder = new TextDecoder();
  let rest = '';
  return new TransformStream({
    transform(bytes, controller) {
      const lines = (rest + decoder.decode(bytes, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const [, data = ''] of lines.map((line) => /^data: ?(.+)$/.exec(line) ?? [])) {
        if (data === '') continue;
        isolation.see(agency, data, asked);
        stream?.take(data);
      }
      controller.enqueue(bytes);
    },
  });
}

interface Frame {
  id?: string;
  type: string;
  payload?: object;
}

function watchedSocket(agency: string, { isolation, events }: Watches): typeof WebSocket {
  return class WatchedSocket extends WebSocket {
    readonly #asked = new Map<string, string>();
    readonly #streams = new Map<string, EventStream | null>();

    constructor(...given: ConstructorParameters<typeof WebSocket>) {
      super(...given);
      this.addEventListener('message', ({ data }) => this.#heard(String(data)));
    }

    override send(data: Parameters<WebSocket['send']>[0]): void {
      const { id, type, payload } = JSON.parse(data as string) as Frame;
      if (id !== undefined && type === 'subscribe') {
        const body = JSON.stringify(payload);
        this.#asked.set(id, body);
        this.#streams.set(id, events.open(body));
      }
      super.send(data);
    }

    #heard(data: string): void {
      const { id = '', type, payload } = JSON.parse(data) as Frame;
      isolation.see(agency, data, this.#asked.get(id));
      if (type === 'next') this.#streams.get(id)?.take(JSON.stringify(payload));
    }
  };
}
