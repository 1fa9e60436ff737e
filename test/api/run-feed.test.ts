import { type ExecutionResult, graphql, parse, subscribe } from 'graphql';
import { beforeAll, describe, expect, it } from 'vitest';

import { schema } from '../../schema/schema.ts';
import { encodeCursor } from '../../src/events/cursor.ts';
import { apiDeps, append, type CallerOptions, completes, contextOf, starts } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { insertRun } from '../support/fixtures.ts';

const database = useDatabase();
beforeAll(async () => {
  await database.addAgency('nasa');
  await database.addAgency('noaa');
});

interface Page {
  edges: { cursor: string; node: { cursor: string; matches: boolean; run: { runId: string; status: string } } }[];
  pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean; startCursor: string | null; endCursor: string };
}

const fields = 'cursor matches run { runId status }';
const query = `query ($after: String, $first: Int, $filter: RunFilter) {
  runChanges(after: $after, first: $first, filter: $filter) {
    edges { cursor node { ${fields} } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}`;

async function ask(variableValues: Record<string, unknown> = {}, agency = 'nasa', options: CallerOptions = {}) {
  const contextValue = contextOf(database, agency, { role: 'viewer', ...options });
  const { data, errors } = await graphql({ schema, source: query, variableValues, contextValue });
  return { page: data?.['runChanges'] as Page, errors };
}

const pageAfter = async (after: string | null, more: Record<string, unknown> = {}): Promise<Page> => {
  const { page, errors } = await ask({ after, ...more });
  expect(errors).toBeUndefined();
  return page;
};

const newRun = async (agency = 'nasa', classification = 0): Promise<string> =>
  (await insertRun(database, agency, { pipeline: `p${String(classification)}`, classification })).runId;
const begin = (runId: string): Promise<void> =>
  append(database, 'nasa', runId, [{ name: 'RunStarted', message: 'started' }], starts);
const end = (runId: string): Promise<void> =>
  append(database, 'nasa', runId, [{ name: 'RunCompleted', message: 'done' }], completes);

const runsOf = ({ edges }: Page): string[] => edges.map(({ node }) => node.run.runId);

describe('runChanges', () => {
  it('says where the feed stands, and nothing else, to whoever has no place', async () => {
    await newRun();
    const place = await pageAfter(null);
    expect(place).toEqual({
      edges: [],
      pageInfo: { hasNextPage: false, hasPreviousPage: false, startCursor: null, endCursor: expect.any(String) },
    });
    expect((await pageAfter(null)).pageInfo).toEqual(place.pageInfo);
    expect((await pageAfter(place.pageInfo.endCursor)).edges).toEqual([]);
    const runId = await newRun();
    expect(runsOf(await pageAfter(place.pageInfo.endCursor))).toEqual([runId]);
  });

  it('says it of a feed that nobody has read and of an agency without runs', async () => {
    const { page } = await ask({}, 'noaa');
    const runId = await newRun('noaa');
    const next = await ask({ after: page.pageInfo.endCursor }, 'noaa');
    expect(runsOf(next.page)).toEqual([runId]);
  });

  it('is paged through in the feed’s order, each run at its newest change, and the end goes on', async () => {
    let { endCursor } = (await pageAfter(null)).pageInfo;
    const ids = [await newRun(), await newRun(), await newRun(), await newRun(), await newRun()];
    const first = await pageAfter(endCursor, { first: 2 });
    expect(first.pageInfo).toMatchObject({ hasNextPage: true, endCursor: first.edges[1]?.cursor });
    await begin(ids[0] as string);
    const seen = runsOf(first);
    for (let more = true; more;) {
      const page = await pageAfter(seen.length === 2 ? first.pageInfo.endCursor : endCursor, { first: 2 });
      seen.push(...runsOf(page));
      endCursor = page.pageInfo.endCursor;
      more = page.pageInfo.hasNextPage;
      for (const { cursor, node } of page.edges) expect(cursor).toBe(node.cursor);
    }
    expect(seen).toEqual([...ids, ids[0]]);
    expect((await pageAfter(endCursor)).edges).toEqual([]);
  });

  it('has the cursors of runsChanged, either way', async () => {
    const { endCursor } = (await pageAfter(null)).pageInfo;
    const runId = await newRun();
    const followed = async (after: string): Promise<Page['edges'][number]['node']> => {
      const document = parse(`subscription ($after: String) { runsChanged(after: $after) { ${fields} } }`);
      const contextValue = contextOf(database, 'nasa', { role: 'viewer' });
      const stream = await subscribe({ schema, document, contextValue, variableValues: { after } });
      if (!(Symbol.asyncIterator in stream)) throw new Error(JSON.stringify(stream));
      const { value } = (await stream.next()) as { value: ExecutionResult };
      await stream.return(undefined);
      return value.data?.['runsChanged'] as Page['edges'][number]['node'];
    };
    const change = await followed(endCursor);
    expect(change.run.runId).toBe(runId);
    await begin(runId);
    const page = await pageAfter(change.cursor);
    expect(page.edges.map(({ node }) => node.run)).toEqual([{ runId, status: 'IN_PROGRESS' }]);
    await end(runId);
    expect((await followed(page.pageInfo.endCursor)).run).toEqual({ runId, status: 'COMPLETED' });
  });

  it('passes over what the filter excludes, tells what leaves its states, and goes on behind both', async () => {
    const { endCursor } = (await pageAfter(null)).pageInfo;
    const runId = await newRun();
    await insertRun(database, 'nasa', { pipeline: 'other' });
    await begin(runId);
    const filter = { pipeline: 'p0', status: ['PENDING'] };
    const page = await pageAfter(endCursor, { filter, first: 1 });
    expect(page.edges.map(({ node }) => node)).toMatchObject([{ matches: false, run: { runId } }]);
    const none = await pageAfter(endCursor, { filter: { pipeline: 'nothing' } });
    expect(none).toMatchObject({ edges: [], pageInfo: { hasNextPage: false } });
    expect((await pageAfter(none.pageInfo.endCursor)).edges).toEqual([]);
  });

  it('shows nobody a run of another agency or above the clearance, and takes no other list’s cursor', async () => {
    const { endCursor } = (await pageAfter(null)).pageInfo;
    const [secret, plain] = [await newRun('nasa', 3), await newRun()];
    await newRun('noaa');
    expect(runsOf(await pageAfter(endCursor))).toEqual([plain]);
    const cleared = await ask({ after: endCursor }, 'nasa', { clearance: 3 });
    expect(runsOf(cleared.page).sort()).toEqual([secret, plain].sort());
    const foreign = await ask({ after: endCursor }, 'noaa');
    const list = encodeCursor(apiDeps(database).cursorKey, { kind: 'runs:desc', agency: 'nasa' }, ['1']);
    for (const { errors } of [foreign, await ask({ after: list }), await ask({ first: 0 })]) {
      expect(errors?.[0]?.originalError).toMatchObject({ code: 'INVALID_INPUT' });
    }
    expect((await ask({ first: 201 })).errors?.[0]?.originalError).toMatchObject({ code: 'LIMIT_EXCEEDED' });
  });
});
