import type { TypedDocument } from './document.ts';
import { FluxError, fromWire, unavailable, type WireError } from './errors.ts';
import { valueOf } from './http.ts';
import type { Settings } from './settings.ts';
import type { StreamHooks } from './stream.ts';

/**
 * Runs a subscription as an event stream (graphql-sse, distinct connections) until the server completes it or `signal` aborts.
 *
 * @throws UNAUTHENTICATED the token was refused; UNAVAILABLE the stream did not open, was cut or went silent; what the API answers
 */
export async function* subscribeOverSse(
  settings: Settings,
  document: TypedDocument<unknown, unknown>,
  variables: unknown,
  root: string,
  { signal, connected, used }: StreamHooks,
): AsyncGenerator<unknown, void, undefined> {
  const silence = watchSilence(settings);
  const ended = AbortSignal.any([signal, silence.signal]);
  try {
    const token = await settings.token.current();
    used(token);
    const response = await settings.fetch(settings.endpoint, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        accept: 'text/event-stream',
      },
      body: JSON.stringify(settings.bodyOf(document, variables)),
      signal: ended,
    });
    const { body } = response;
    if (!response.ok || body === null || !response.headers.get('content-type')?.startsWith('text/event-stream')) {
      throw await refusalOf(response);
    }
    connected();
    silence.heard();
    for await (const { event, data } of readEvents(body, silence.heard)) {
      if (event === 'complete') return;
      if (event === 'next') yield valueOf(JSON.parse(data) as Parameters<typeof valueOf>[0], root);
    }
    throw unavailable('The event stream was cut.');
  } catch (cause) {
    if (signal.aborted) return;
    throw cause instanceof FluxError ? cause : unavailable('The event stream broke or did not open.', cause);
  } finally {
    silence.stop();
  }
}

/** Aborts when nothing has come for too long: first not the answer, then not one byte. */
function watchSilence({ connectTimeoutMs, silenceMs }: Settings) {
  const controller = new AbortController();
  let timer = setTimeout(() => controller.abort(), connectTimeoutMs);
  return {
    signal: controller.signal,
    heard(): void {
      clearTimeout(timer);
      timer = setTimeout(() => controller.abort(), silenceMs);
    },
    stop(): void {
      clearTimeout(timer);
      // Also what is left of the body.
      controller.abort();
    },
  };
}

async function refusalOf(response: Response): Promise<FluxError> {
  const answer = (await response.json().catch(() => undefined)) as { errors?: readonly WireError[] } | undefined;
  const [error] = answer?.errors ?? [];
  if (error) return fromWire(error, response.status);
  if (response.status === 401) return fromWire({ message: 'The token was refused.' }, 401);
  return unavailable(`${String(response.status)} was the answer instead of an event stream.`);
}

interface ServerEvent {
  event: string;
  data: string;
}

async function* readEvents(
  body: ReadableStream<Uint8Array>,
  heard: () => void,
): AsyncGenerator<ServerEvent, void, undefined> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      const lines = (rest + decoder.decode(value, { stream: true })).replaceAll('\r\n', '\n').split('\n\n');
      rest = lines.pop() ?? '';
      for (const block of lines) yield readBlock(block);
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

function readBlock(block: string): ServerEvent {
  const fields = block.split('\n').map((line) => /^([^:]*):? ?(.*)$/s.exec(line));
  const of = (name: string): string[] => fields.filter((found) => found?.[1] === name).map((found) => found?.[2] ?? '');
  return { event: of('event').at(-1) ?? 'message', data: of('data').join('\n') };
}
