/**
 * Joins the graphql-ws protocol to `ws` sockets. graphql-ws' own adapter writes to the console and waits for a stalled client
 * without end; here what goes wrong is logged and a client that takes nothing for 30 seconds is cut off.
 */
import type { Duplex } from 'node:stream';

import { type Server as ProtocolServer, CloseCode, handleProtocols, MessageType } from 'graphql-ws';
import type { Extra } from 'graphql-ws/use/ws';
import type { WebSocket, WebSocketServer } from 'ws';

import type { Logger } from '../telemetry/logger.ts';
import type { Outlet } from './deliver.ts';
import { readWindowOf } from './read-window.ts';
import { tryAgainLater } from './websocket-session.ts';

const pingMs = 12_000; // a client that does not answer within another 12 s is gone
const stallMs = 30_000;
/** Ids are short; what is longer is no Complete that needs to be quick. */
const completeLengthMax = 1_000;

type PingPayload = Record<string, unknown> | undefined;

export interface ProtocolOptions {
  logger: Logger;
  /** The client wants no more of an operation. graphql-ws itself tells only after the operation's end. */
  completed(socket: WebSocket, id: string): void;
  /** When an operation that the client has completed is gone, and its id free; undefined where none of that id is on its way. */
  ending(socket: WebSocket, id: string): Promise<void> | undefined;
  /** What a ping is answered with. */
  pong(socket: WebSocket, payload: PingPayload): Promise<PingPayload>;
}

/** Speaks the protocol on every socket that the server opens from now on. */
export function speakProtocol(
  protocol: ProtocolServer<Extra>,
  sockets: WebSocketServer,
  options: ProtocolOptions,
): void {
  const { logger, pong } = options;
  sockets.options.handleProtocols = handleProtocols;
  sockets.on('connection', (socket, request) => {
    // `ws` closes by itself with the code that fits (1009 too large, 1002 not the protocol); unheard, the event ends the process.
    socket.on('error', (error) => logger.debug({ err: error }, 'a socket failed'));
    const stopPinging = keepAlive(socket);
    const closed = protocol.opened(
      {
        protocol: socket.protocol,
        send: (data) => sendOrCutOff(socket, data),
        close: (code, reason) => socket.close(code, reasonOf(reason ?? '')),
        onPing: async (given) => {
          const payload = await pong(socket, given);
          await sendOrCutOff(socket, JSON.stringify({ type: MessageType.Pong, ...(payload ? { payload } : {}) }));
        },
        onMessage: (take) => {
          const receive = inOrder(socket, options, (text) => {
            take(text).catch((cause: unknown) => closeAfter(socket, cause, logger));
          });
          socket.on('message', (data: Buffer) => receive(data.toString('utf8')));
        },
      },
      { socket, request },
    );
    socket.once('close', (code, reason) => {
      stopPinging();
      closed(code, reason.toString()).catch((cause: unknown) =>
        logger.error({ err: cause }, 'a socket did not end cleanly'),
      );
    });
  });
}

/** A client that sends so many while one waits does not wait for answers. */
const heldMost = 1_000;

/**
 * Takes a client's messages in their order. An id is free for the client once it has sent Complete, while graphql-ws still ends what
 * had it, and would then take the new operation for the old one: whoever uses it again waits until that is gone, and what
 * comes behind it too.
 */
function inOrder(
  socket: WebSocket,
  { completed, ending }: Pick<ProtocolOptions, 'completed' | 'ending'>,
  take: (text: string) => void,
): (text: string) => void {
  const ended = new Set<string>();
  let held: string[] | undefined;
  const receive = (text: string): void => {
    if (held) {
      if (held.length < heldMost) held.push(text);
      else socket.close(tryAgainLater.code, 'Too many messages at once');
      return;
    }
    const free = ended.size > 0 ? freeAgain(text) : undefined;
    if (free) {
      held = [text];
      void free.then(() => {
        const texts = held ?? [];
        held = undefined;
        for (const each of texts) receive(each);
      });
      return;
    }
    const id = idOf(text, 'complete', completeLengthMax);
    if (id !== undefined) {
      completed(socket, id);
      if (ending(socket, id)) ended.add(id);
    }
    take(text);
  };
  const freeAgain = (text: string): Promise<void> | undefined => {
    for (const id of ended) if (!ending(socket, id)) ended.delete(id);
    const id = idOf(text, 'subscribe');
    return id !== undefined && ended.has(id) ? ending(socket, id) : undefined;
  };
  return receive;
}

/** What one socket may owe its client before it has to read: a thousand that never do are to cost no more than 16 MiB. */
const owedBytesMax = 16 * 1024;
const nothing = Buffer.alloc(0);

/** Sends the results of one subscription, those at hand in one write, and no faster than the client reads. */
export function socketOutlet({
  socket,
  stream,
  id,
  expired,
}: {
  socket: WebSocket;
  /** The connection beneath the socket. */
  stream: Duplex;
  id: string;
  /** Whether the token has ended; whoever answers yes also closes the socket. */
  expired: () => boolean;
}): Outlet {
  const opening = `{"id":${JSON.stringify(id)},"type":"next","payload":`;
  const window = readWindowOf(socket);
  return {
    closed: () => socket.readyState !== socket.OPEN || expired(),
    send(texts) {
      let sent = 0;
      stream.cork();
      for (const text of texts) {
        const message = `${opening}${text}}`;
        socket.send(message);
        sent += 1;
        window.sent(message.length);
        if (socket.bufferedAmount > owedBytesMax || window.full()) break;
      }
      stream.uncork();
      return sent;
    },
    room() {
      if (socket.bufferedAmount <= owedBytesMax && !window.full()) return undefined;
      return new Promise((resolve) => {
        const timer = setTimeout(() => socket.terminate(), stallMs);
        const done = (): void => {
          clearTimeout(timer);
          resolve();
        };
        if (window.full()) window.whenOpen(done);
        // Behind everything that is owed; called back as well when the connection ends.
        else stream.write(nothing, done);
      });
    },
  };
}

/** Resolves when the bytes have left this process: whoever awaits it sends no faster than the client reads. */
function sendOrCutOff(socket: WebSocket, data: string): Promise<void> {
  return new Promise((resolve, reject) => {
    if (socket.readyState !== socket.OPEN) {
      resolve();
      return;
    }
    const timer = setTimeout(() => socket.terminate(), stallMs);
    socket.send(data, (error) => {
      clearTimeout(timer);
      if (error) reject(error);
      else resolve();
    });
  });
}

/** The id of a message of this type; undefined for every other text. */
function idOf(text: string, wanted: 'complete' | 'subscribe', lengthMax = Infinity): string | undefined {
  if (text.length > lengthMax || !text.includes(`"${wanted}"`)) return undefined;
  try {
    const { type, id } = JSON.parse(text) as { type?: unknown; id?: unknown };
    return type === wanted && typeof id === 'string' ? id : undefined;
  } catch {
    return undefined;
  }
}

/** A close frame has room for 123 bytes (RFC 6455, section 5.5); graphql-ws puts the client's own id into one of its reasons. */
function reasonOf(reason: string): string {
  return Buffer.byteLength(reason) <= 123
    ? reason
    : `${Buffer.from(reason)
        .subarray(0, 117)
        .toString()
        .replace(/\ufffd$/, '')}…`;
}

function closeAfter(socket: WebSocket, cause: unknown, logger: Logger): void {
  // The one complaint of graphql-ws that it throws instead of closing: a type that only servers send.
  if (cause instanceof Error && cause.message.startsWith('Unexpected message of type')) {
    socket.close(CloseCode.BadRequest, 'Invalid message received');
    return;
  }
  // A send that failed because the client has gone needs nobody's attention.
  if (socket.readyState !== socket.OPEN) return;
  logger.error({ err: cause }, 'a message could not be handled');
  socket.close(CloseCode.InternalServerError, 'Internal server error');
}

function keepAlive(socket: WebSocket): () => void {
  let answered = true;
  socket.on('pong', () => {
    answered = true;
  });
  const timer = setInterval(() => {
    if (!answered) socket.terminate();
    answered = false;
    if (socket.readyState === socket.OPEN) socket.ping();
  }, pingMs);
  return () => clearInterval(timer);
}
