import type { ServerResponse } from 'node:http';

export interface EventStreamTimes {
  /** A client that takes nothing for so long is cut off. */
  stallMs: number;
  /** Proxies close what is silent for a minute or less. */
  heartbeatMs: number;
}

const writeBytesMax = 16 * 1024;

/** One answer as server-sent events. */
export interface EventStream {
  /** Resolves when the bytes have left this process: whoever awaits it sends no faster than the client reads. */
  send(event: 'next' | 'complete', data: string): Promise<void>;
  /** As many events as make one write of a sensible size, at least one. */
  sendSome(event: 'next', data: readonly string[]): { sent: number; written: Promise<void> };
  /** Ends the answer. Idempotent. */
  end(): void;
}

/** Begins a stream on a response. A client that does not read is cut off, and `closed` tells of every end. */
export function openEventStream(
  response: ServerResponse,
  { headers, times, closed }: { headers: Record<string, string>; times: EventStreamTimes; closed: () => void },
): EventStream {
  const waiting = new Set<() => void>();
  const write = (text: string): Promise<void> =>
    new Promise((resolve) => {
      if (response.destroyed || response.writableEnded) {
        // Not at once: a source that never waits would keep the event loop from hearing that the client is gone.
        setImmediate(resolve);
        return;
      }
      const timer = setTimeout(() => {
        closed();
        response.destroy();
      }, times.stallMs);
      const done = (): void => {
        clearTimeout(timer);
        waiting.delete(done);
        resolve();
      };
      waiting.add(done);
      response.write(text, done);
    });
  response.writeHead(200, {
    ...headers,
    'content-type': 'text/event-stream; charset=utf-8',
    // Kept alive behind its stream, the connection would hold up a server that stops for as long as it may idle.
    connection: 'close',
    // nginx would collect what is meant to be live.
    'x-accel-buffering': 'no',
  });
  response.flushHeaders();
  const heart = setInterval(() => {
    if (waiting.size === 0) void write(':\n\n');
  }, times.heartbeatMs);
  response.once('close', () => {
    clearInterval(heart);
    for (const done of [...waiting]) done();
    closed();
  });
  // Unheard, a connection that breaks would end the process.
  response.on('error', () => response.destroy());
  return {
    send: (event, data) => write(`event: ${event}\ndata:${data === '' ? '' : ` ${data}`}\n\n`),
    sendSome(event, data) {
      let text = '';
      let sent = 0;
      for (const one of data) {
        text += `event: ${event}\ndata: ${one}\n\n`;
        sent += 1;
        if (text.length > writeBytesMax) break;
      }
      return { sent, written: write(text) };
    },
    end: () => {
      response.end();
    },
  };
}
