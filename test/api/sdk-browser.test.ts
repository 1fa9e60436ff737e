/**
 * The SDK in a real browser: its modules as they are, on a page of the API's own origin, watching a run over a WebSocket and over
 * an event stream, with nothing of a dashboard between the two.
 */
import { readFile } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import path from 'node:path';

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { createFlux, successOf } from '#sdk';
import { browserMissing, launchBrowser } from '../support/browser.ts';
import { useDatabase } from '../support/database.ts';
import { definitions, history, serveApi, storedSeqs } from '../support/served-api.ts';

const database = useDatabase();
const api = serveApi(database);
const checkout = path.join(import.meta.dirname, '..', '..');
let browser: Awaited<ReturnType<typeof launchBrowser>>;

beforeAll(async () => {
  if (browserMissing !== undefined) return;
  await database.addAgency('nasa');
  const admin = createFlux({ url: api.url, token: 'nasa/admin' });
  successOf(await admin.api.registerConnection({ definition: definitions.connection }));
  successOf(await admin.api.registerContract({ name: 'reading', document: definitions.contract }));
  successOf(await admin.api.registerPipeline({ definition: definitions.pipeline }));
  admin.close();
  browser = await launchBrowser();
}, 120_000);
beforeEach((context) => {
  if (browserMissing !== undefined) context.skip(browserMissing);
});
afterAll(async () => {
  if (browserMissing === undefined) await browser.close();
});

const html = `<!doctype html><script type="importmap">
  {"imports": {"@flux-etl/sdk": "/test/sdk/index.ts", "graphql-ws/client": "/test/graphql-ws/client.js"}}
</script>
<script type="module">
  import { createFlux } from '@flux-etl/sdk';
  globalThis.createFlux = createFlux;
</script>`;

/** The sources, without their types, under the names by which they import one another. */
async function moduleOf(pathname: string): Promise<string> {
  const [, , library = '', ...rest] = pathname.split('/');
  if (library === 'graphql-ws') {
    return readFile(path.join(checkout, 'node_modules', 'graphql-ws', 'dist', ...rest), 'utf8');
  }
  return stripTypeScriptTypes(await readFile(path.join(checkout, 'sdk', 'src', ...rest), 'utf8'));
}

/** A page that the API itself answered: Chromium lets no page of unknown origin reach a loopback address over a WebSocket. */
async function openPage() {
  const page = await browser.newPage({ bypassCSP: true });
  await page.route(`${api.url}/test/**`, async (route) => {
    const { pathname } = new URL(route.request().url());
    return route.fulfill({ contentType: 'text/javascript', body: await moduleOf(pathname) });
  });
  await page.goto(`${api.url}/health/live`);
  await page.setContent(html);
  await page.waitForFunction(() => 'createFlux' in globalThis);
  return page;
}

interface Watched {
  seqs: string[];
  ended: string | undefined;
  transports: string[];
}

/** Runs in the page. */
async function watchInPage({ id, transport }: { id: string; transport: string }): Promise<Watched> {
  const { createFlux: create } = globalThis as unknown as { createFlux: typeof createFlux };
  const watched: Watched = { seqs: [], ended: undefined, transports: [] };
  (globalThis as { watched?: Watched }).watched = watched;
  const flux = create({
    url: globalThis.location.origin,
    token: 'nasa/operator',
    transports: [transport as 'websocket'],
    onConnection: (state) => state.status === 'live' && watched.transports.push(state.transport),
  });
  for await (const item of flux.runs.watch(id)) {
    if ('seq' in item) watched.seqs.push(item.seq);
    else if (item.__typename === 'StreamEnd') watched.ended = item.status;
  }
  flux.close();
  return watched;
}

describe('the SDK in a browser', () => {
  it.for(['websocket', 'sse'])('watches a run to its end over %s', { timeout: 120_000 }, async (transport) => {
    const flux = createFlux({ url: api.url, token: 'nasa/operator' });
    const { id, runId } = successOf(await flux.api.startRun({ pipeline: 'readings' }));
    flux.close();
    const run = history(database, 'nasa', runId);
    await run.start();
    await run.batches(5);
    const page = await openPage();
    const problems: string[] = [];
    page.on('pageerror', (error) => problems.push(error.message));
    const watching = page.evaluate(watchInPage, { id, transport });
    const seen = (): Promise<number> =>
      page.evaluate(() => (globalThis as { watched?: { seqs: string[] } }).watched?.seqs.length ?? 0);
    await expect.poll(seen, { timeout: 60_000 }).toBe(7);
    await run.batches(5);
    await expect.poll(seen, { timeout: 60_000 }).toBe(12);
    await run.complete();
    expect(await watching).toEqual({
      seqs: await storedSeqs(database, runId),
      ended: 'COMPLETED',
      transports: [transport],
    });
    expect(problems).toEqual([]);
    await page.close();
  });
});
