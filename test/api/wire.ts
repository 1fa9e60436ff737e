import { once } from 'node:events';

import { WebSocket } from 'ws';

import { graphqlPath } from '../../src/server/start-server.ts';

export interface Message {
  type: string;
  id?: string;
  payload?: { data?: Record<string, unknown> | null; errors?: { extensions: Record<string, unknown> }[] } & {
    extensions?: Record<string, unknown>;
    message?: string;
  }[];
}

/** A client that speaks the wire protocol by hand. It keeps every message from the first instant; nobody waits for time. */
export interface Wire {
  send(message: unknown): void;
  /** The next message that was not taken yet. Fails if the socket closes first. */
  next(): Promise<Message>;
  closed: Promise<{ code: number; reason: string }>;
  close(): Promise<void>;
  socket: WebSocket;
}

export async function openWire(
  url: string,
  options: { protocol?: string | string[]; headers?: Record<string, string>; path?: string } = {},
): Promise<Wire> {
  const { protocol = 'graphql-transport-ws', headers = {}, path = graphqlPath } = options;
  const socket = new WebSocket(url.replace('http', 'ws') + path, protocol, { headers });
  const messages: Message[] = [];
  const waiting: ((message: Message | null) => void)[] = [];
  socket.on('message', (data: Buffer) => {
    const message = JSON.parse(data.toString()) as Message;
    const taker = waiting.shift();
    if (taker) taker(message);
    else messages.push(message);
  });
  let over = false;
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.on('close', (code, reason) => {
      over = true;
      for (const taker of waiting.splice(0)) taker(null);
      resolve({ code, reason: reason.toString() });
    });
  });
  await once(socket, 'open');
  return {
    socket,
    closed,
    send: (message) => socket.send(typeof message === 'string' ? message : JSON.stringify(message)),
    async next() {
      const message =
        messages.shift() ?? (over ? null : await new Promise<Message | null>((resolve) => waiting.push(resolve)));
      if (!message) throw new Error(`The socket closed (${JSON.stringify(await closed)}) before a message came.`);
      return message;
    },
    async close() {
      socket.close();
      await closed;
    },
  };
}

/** A socket whose token was accepted. */
export async function connectWire(url: string, token: string): Promise<Wire> {
  const wire = await openWire(url);
  wire.send({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } });
  const message = await wire.next();
  if (message.type !== 'connection_ack') throw new Error(`expected connection_ack, found ${message.type}`);
  return wire;
}

/** Runs one operation to its end. */
export async function runOverWire(wire: Wire, id: string, payload: object): Promise<Message[]> {
  wire.send({ id, type: 'subscribe', payload });
  const messages: Message[] = [];
  for (;;) {
    const message = await wire.next();
    messages.push(message);
    if (message.type !== 'next') return messages;
  }
}
