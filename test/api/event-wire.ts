import { graphqlPath } from '../../src/server/start-server.ts';

export interface ServerEvent {
  event: string;
  /** Parsed JSON; null where the event carries none. */
  data: EventResult | null;
}

export interface EventResult {
  data?: Record<string, unknown> | null;
  errors?: { message: string; extensions: Record<string, unknown> }[];
}

/** An event stream read by hand, as the HTML standard has it. */
export interface EventWire {
  response: Response;
  /** The next event; null at the end of the stream. */
  next(): Promise<ServerEvent | null>;
  /** Comments that came so far. */
  comments(): number;
  leave(): void;
}

export async function openEvents(
  url: string,
  token: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<EventWire> {
  return readEvents((signal) => postOf(url, token, { body, headers, signal }));
}

/** The same, asked in the URL of a GET. */
export async function openEventsByGet(url: string, token: string, asked: Record<string, string>): Promise<EventWire> {
  const headers = { accept: 'text/event-stream', authorization: `Bearer ${token}` };
  const address = `${url}${graphqlPath}?${new URLSearchParams(asked).toString()}`;
  return readEvents((signal) => fetch(address, { headers, signal }));
}

function postOf(
  url: string,
  token: string,
  { body, headers, signal }: { body: unknown; headers: Record<string, string>; signal: AbortSignal },
): Promise<Response> {
  return fetch(`${url}${graphqlPath}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'text/event-stream',
      authorization: `Bearer ${token}`,
      ...headers,
    },
    body: typeof body === 'string' ? body : JSON.stringify(body),
    signal,
  });
}

async function readEvents(open: (signal: AbortSignal) => Promise<Response>): Promise<EventWire> {
  const leaving = new AbortController();
  const response = await open(leaving.signal);
  const blocks = readBlocks(response);
  let comments = 0;
  return {
    response,
    async next() {
      for (;;) {
        const { value, done } = await blocks.next();
        if (done) return null;
        const lines = value.split('\n');
        const fieldOf = (name: string): string =>
          lines
            .filter((line) => line.startsWith(`${name}:`))
            .map((line) => line.slice(name.length + 1).replace(/^ /, ''))
            .join('\n');
        if (fieldOf('event') === '') {
          comments += 1;
          continue;
        }
        const data = fieldOf('data');
        return { event: fieldOf('event'), data: data === '' ? null : (JSON.parse(data) as EventResult) };
      }
    },
    comments: () => comments,
    leave: () => leaving.abort(),
  };
}

/** Runs one operation to the end of its stream. */
export async function runOverEvents(url: string, token: string, body: unknown): Promise<ServerEvent[]> {
  return allOf(await openEvents(url, token, body));
}

export async function allOf(wire: EventWire): Promise<ServerEvent[]> {
  const events: ServerEvent[] = [];
  for (let event = await wire.next(); event; event = await wire.next()) events.push(event);
  return events;
}

async function* readBlocks(response: Response): AsyncGenerator<string, void> {
  let text = '';
  const decoder = new TextDecoder();
  const reader = response.body?.getReader();
  for (;;) {
    const chunk = await reader?.read();
    if (!chunk || chunk.done) return;
    text += decoder.decode(chunk.value, { stream: true });
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      yield text.slice(0, end);
      text = text.slice(end + 2);
    }
  }
}
