/** Users of the dashboard in a process of their own: each has a connection, asks a page's query, waits for it, thinks, asks the next. */
import { createHash } from 'node:crypto';
import { Agent, request } from 'node:http';

import { summarize } from './latency.ts';

export interface UserOrder {
  url: string;
  users: number;
  /** Sent in turns; every user begins with another one. */
  queries: { name: string; body: string }[];
  thinkMs: number;
  forMs: number;
}

export interface UserAnswer {
  requestsPerSecond: number;
  requests: number;
  /** Of every answer, by the name of the query, and of all under `all`. */
  latency: Record<string, ReturnType<typeof summarize>>;
  /** SHA-256 of each query's answer: the same from every server, or they did not do the same work. */
  answers: Record<string, string>;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function post(url: string, agent: Agent, body: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      accept: 'application/json',
      authorization: 'Bearer admin',
    };
    const asked = request(`${url}/v1/graphql`, { method: 'POST', agent, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const answer = Buffer.concat(chunks);
        if (response.statusCode === 200 && !answer.includes('"errors":')) resolve(answer);
        else reject(new Error(`${String(response.statusCode)}: ${answer.toString().slice(0, 500)}`));
      });
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

async function serveUsers({ url, users, queries, thinkMs, forMs }: UserOrder): Promise<UserAnswer> {
  const agent = new Agent({ keepAlive: true, maxSockets: users });
  const times: Record<string, number[]> = { all: [] };
  const answers: Record<string, string> = {};
  for (const { name, body } of queries) {
    times[name] = [];
    const { data } = JSON.parse((await post(url, agent, body)).toString()) as { data: unknown };
    answers[name] = createHash('sha256').update(JSON.stringify(data)).digest('hex');
  }
  const start = performance.now();
  const one = async (user: number): Promise<void> => {
    await pause((thinkMs * user) / users);
    for (let turn = user; performance.now() - start < forMs; turn += 1) {
      const { name, body } = queries[turn % queries.length] as UserOrder['queries'][number];
      const asked = performance.now();
      await post(url, agent, body);
      const took = performance.now() - asked;
      times[name]?.push(took);
      times['all']?.push(took);
      if (thinkMs > 0) await pause(thinkMs * (0.5 + Math.random()));
    }
  };
  await Promise.all(Array.from({ length: users }, (_, user) => one(user)));
  const seconds = (performance.now() - start) / 1_000;
  agent.destroy();
  return {
    requestsPerSecond: (times['all']?.length ?? 0) / seconds,
    requests: times['all']?.length ?? 0,
    latency: Object.fromEntries(Object.entries(times).map(([name, took]) => [name, summarize(took)])),
    answers,
  };
}

process.on('message', (order: UserOrder) => {
  serveUsers(order).then(
    (answer) => process.send?.(answer),
    (cause: unknown) => {
      console.error(cause);
      process.exit(1);
    },
  );
});
process.on('disconnect', () => process.exit(0));
