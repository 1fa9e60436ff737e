/** Subscribers in a process of their own: opens sockets, notes when each event came to each, and answers with order statistics. */
import { WebSocket } from 'ws';

import { summarize } from './latency.ts';

export interface Order {
  open?: { url: string; runId: string; count: number; name: string; stalled?: boolean; events: number };
  /** Waits until every reading subscriber has this event, at most so many milliseconds. */
  until?: { seq: number; withinMs: number };
  /** Times since commit of what has arrived, of events for which `commits` has the milliseconds. */
  report?: { commits: [seq: number, at: number][] };
  close?: boolean;
}

const query =
  'subscription ($id: ID!) { runEvents(runId: $id) { __typename ... on RunEvent { seq cursor at name message data attempt } } }';
const now = (): number => performance.timeOrigin + performance.now();

interface Subscriber {
  socket: WebSocket;
  last: number;
  arrivals: Float64Array;
}
let reading: Subscriber[] = [];
let stalled: WebSocket[] = [];
let deliveries = 0;
let deliveredAt = 0;
let wanted: { seq: number; left: Set<Subscriber>; done: () => void } | undefined;

async function open({
  url,
  runId,
  count,
  name,
  stalled: stall = false,
  events,
}: NonNullable<Order['open']>): Promise<void> {
  const batch = 100;
  for (let from = 0; from < count; from += batch) {
    const some = Array.from({ length: Math.min(batch, count - from) }, (_, i) =>
      subscribe(`${url.replace('http', 'ws')}/v1/graphql`, {
        runId,
        subject: `${name}${String(from + i)}`,
        stall,
        events,
      }),
    );
    await Promise.all(some);
  }
}

interface Subscription {
  runId: string;
  subject: string;
  stall: boolean;
  events: number;
}

function subscribe(url: string, { runId, subject, stall, events }: Subscription): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, 'graphql-transport-ws', { perMessageDeflate: false });
    const subscriber: Subscriber = { socket, last: 0, arrivals: new Float64Array(stall ? 0 : events + 2) };
    socket.on('error', reject);
    socket.on('open', () =>
      socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${subject}` } })),
    );
    socket.on('message', (data: Buffer) => {
      const text = data.toString('latin1', 0, 400);
      const at = text.indexOf('"seq":"');
      if (at < 0) {
        if (text.includes('connection_ack')) {
          const payload = { query, variables: { id: runId } };
          socket.send(JSON.stringify({ id: subject, type: 'subscribe', payload }));
        } else if (!text.includes('"complete"')) reject(new Error(text));
        return;
      }
      const seq = Number.parseInt(text.slice(at + 7, at + 20), 10);
      if (seq !== subscriber.last + 1)
        throw new Error(`${subject}: after ${String(subscriber.last)} came ${String(seq)}`);
      subscriber.last = seq;
      if (seq === 1) {
        if (stall) {
          socket.pause();
          stalled.push(socket);
        } else reading.push(subscriber);
        resolve();
      }
      if (!stall) {
        deliveries += 1;
        deliveredAt = now();
        subscriber.arrivals[seq] = deliveredAt;
        if (wanted && seq >= wanted.seq && wanted.left.delete(subscriber) && wanted.left.size === 0) wanted.done();
      }
    });
  });
}

async function until({ seq, withinMs }: NonNullable<Order['until']>): Promise<void> {
  const left = new Set(reading.filter(({ last }) => last < seq));
  if (left.size > 0) {
    await new Promise<void>((done) => {
      const timer = setTimeout(done, withinMs);
      wanted = {
        seq,
        left,
        done() {
          clearTimeout(timer);
          done();
        },
      };
    });
  }
  wanted = undefined;
}

function report(commits: [number, number][]) {
  const times = reading.flatMap(({ arrivals }) =>
    commits.flatMap(([seq, at]) => {
      const arrival = arrivals[seq];
      return arrival ? [arrival - at] : [];
    }),
  );
  return summarize(times);
}

process.on('message', (order: Order) => {
  void (async () => {
    if (order.open) await open(order.open);
    if (order.until !== undefined) await until(order.until);
    if (order.close) {
      for (const { socket } of reading) socket.terminate();
      for (const socket of stalled) socket.terminate();
      reading = [];
      stalled = [];
      deliveries = 0;
    }
    const stillStalled = stalled.filter((socket) => socket.readyState === socket.OPEN).length;
    process.send?.({
      at: deliveredAt,
      deliveries,
      stillStalled,
      latency: order.report && report(order.report.commits),
    });
  })();
});
process.on('disconnect', () => process.exit(0));
