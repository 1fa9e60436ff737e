/**
 * What tracing costs while it is off: the places of a request where a span would be opened, times what such a place costs beside the
 * same work without it, against the time of the request. `node bench/tracing.ts [REQUESTS]`; the API is a process of its own, asked
 * the run page's question by one user at a time.
 */
import { RunDocument } from '../sdk/src/generated/graphql.ts';
import { inSpan } from '../src/telemetry/tracing.ts';
import { cleanUp, startProcess } from './child-process.ts';
import { startScratchDatabase } from './scratch-database.ts';

const requests = Number(process.argv[2] ?? '500');
const rounds = 7;
const calls = 1_000_000;

const database = await startScratchDatabase();
cleanUp(() => database.stop());
try {
  const runId = await database.newRun();
  await database.append(
    runId,
    Array.from({ length: 50 }, (_, i) => ({
      name: 'BatchCommitted' as const,
      message: `Batch ${String(i)} is durable.`,
      data: {},
    })),
  );
  const server = startProcess('api-process.ts', ['flux', database.apiUrl]);
  const { url } = await server.answer<{ url: string }>();
  const body = JSON.stringify({
    query: (RunDocument as { text: string }).text,
    variables: { id: Buffer.from(`Run:${runId}`).toString('base64url') },
  });
  const ask = async (): Promise<void> => {
    const headers = { authorization: 'Bearer pat@example.gov', 'content-type': 'application/json' };
    const response = await fetch(`${url}/v1/graphql`, { method: 'POST', headers, body });
    const answer = (await response.json()) as { errors?: unknown; data?: { run?: unknown } };
    if (answer.errors !== undefined || !answer.data?.run) throw new Error(JSON.stringify(answer).slice(0, 500));
  };
  const perRequest = async (): Promise<number> => {
    const start = performance.now();
    for (let i = 0; i < requests; i += 1) await ask();
    return (performance.now() - start) / requests;
  };
  await perRequest();
  const requestMs = await perRequest();
  await server.ask('spans');
  await ask();
  const { spans } = await server.ask<{ spans: number }>('spans');
  const placeNs = await costOfPlace();
  const share = (100 * spans * placeNs) / 1e6 / requestMs;
  console.log(
    '| places of the run page’s request | ns each, tracing off | ms a request | share |\n|---|---|---|---|\n' +
      `| ${String(spans)} | ${placeNs.toFixed(1)} | ${requestMs.toFixed(2)} | ${share.toFixed(3)} % |`,
  );
  server.process.disconnect();
} finally {
  await database.stop();
}

/** Nanoseconds that the same work takes longer inside `inSpan`: the least of several rounds, taken in turns. */
async function costOfPlace(): Promise<number> {
  const settled = Promise.resolve(1);
  const work = (): Promise<number> => settled;
  const time = async (call: (i: number) => Promise<number>): Promise<number> => {
    const start = performance.now();
    for (let i = 0; i < calls; i += 1) await call(i);
    return ((performance.now() - start) * 1e6) / calls;
  };
  let [bare, inside] = [Infinity, Infinity];
  for (let round = 0; round < rounds; round += 1) {
    bare = Math.min(bare, await time(() => work()));
    inside = Math.min(
      inside,
      await time((i) => inSpan('SELECT', { attributes: { 'db.system.name': 'postgresql', i } }, work)),
    );
  }
  return inside - bare;
}
