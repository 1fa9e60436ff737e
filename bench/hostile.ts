/**
 * CPU that refusing each hostile document costs the server's guard: parse, validate, measure; and each hostile request to REST, over the
 * wire, with the client's share. `node bench/hostile.ts [rounds]`. Prints one line for each document and fails when the worst median passes 50 ms.
 */
import { hostile, hostileRequests } from '../test/api/hostile-corpus.ts';
import { principalOf } from '../test/support/api.ts';
import { testSchema } from '../test/api/test-schema.ts';
import { prepareOperation } from '../src/server/operations.ts';
import { startServer } from '../src/server/start-server.ts';
import { createLogger } from '../src/telemetry/logger.ts';
import type { Context } from '../resolvers/context.ts';

const allowedMs = 50;
const rounds = Number(process.argv[2] ?? 15);
const schema = testSchema();

const results = hostile.map(([name, operation, code]) => {
  const measured = Array.from({ length: rounds }, () => {
    const before = process.cpuUsage();
    const refused = !('document' in prepareOperation(schema, operation, { introspection: true }));
    const { user, system } = process.cpuUsage(before);
    return { refused, ms: (user + system) / 1_000 };
  });
  const times = measured.map(({ ms }) => ms).sort((a, b) => a - b);
  const median = times[Math.floor(times.length / 2)] ?? 0;
  return { name, code, median, worst: times.at(-1) ?? 0, refused: measured.every(({ refused }) => refused) };
});

const server = await startServer<Context>(
  { environment: 'production', host: '127.0.0.1', port: 0 },
  {
    schema,
    authenticator: { authenticate: () => Promise.resolve(principalOf('nasa')) },
    seal: { keyId: 'bench', key: Buffer.alloc(32, 1) },
    createContext: (request) => request as Context,
    readiness: {},
    logger: createLogger({ service: 'api', level: 'fatal' }),
  },
);
for (const [name, { method = 'GET', path, body, headers = {} }, status, code] of hostileRequests) {
  const times: number[] = [];
  let refused = true;
  for (let round = 0; round < rounds; round += 1) {
    const before = process.cpuUsage();
    const response = await fetch(`${server.url}/v1/rest${path}`, {
      method,
      headers: {
        authorization: 'Bearer x',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body }),
    });
    await response.arrayBuffer();
    const { user, system } = process.cpuUsage(before);
    times.push((user + system) / 1_000);
    refused &&= response.status === status;
  }
  times.sort((a, b) => a - b);
  const median = times[Math.floor(times.length / 2)] ?? 0;
  results.push({ name: `REST: ${name}`, code, median, worst: times.at(-1) ?? 0, refused });
}
await server.stop();

results.sort((a, b) => b.median - a.median);
for (const { name, code, median, worst, refused } of results) {
  // Wrong values of variables are refused by graphql when it executes, after the guard.
  const outcome = refused ? code : `${code} (on execution)`;
  console.log(
    `${median.toFixed(2).padStart(8)} ms median ${worst.toFixed(2).padStart(8)} ms worst  ${name}: ${outcome}`,
  );
}
const slowest = results[0];
console.log(
  `${String(results.length)} documents and requests, ${String(rounds)} rounds each; at most ${String(allowedMs)} ms are allowed`,
);
if (!slowest || slowest.median > allowedMs) process.exitCode = 1;
