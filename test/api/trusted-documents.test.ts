import { describe, expect, it } from 'vitest';

import { sha256Hex } from '../../src/crypto/hash.ts';
import { graphqlPath } from '../../src/server/start-server.ts';
import { type EventResult, openEvents } from './event-wire.ts';
import { type ServedSchema, serveSchema } from './serve.ts';
import { testSchema } from './test-schema.ts';
import { connectWire, runOverWire } from './wire.ts';

const known = '{ viewer { agency } }';
const id = `sha256:${sha256Hex(known)}`;
const manifest = new Map([[id, known]]);
const other = '{ agencyWhoAsks }';
const otherId = `sha256:${sha256Hex(other)}`;

interface Outcome {
  data?: unknown;
  code?: unknown;
}

/** The outcome of one request on each transport. */
async function everywhere(api: ServedSchema, request: Record<string, unknown>): Promise<Record<string, Outcome>> {
  const outcome = (
    result: { data?: unknown; errors?: { extensions?: Record<string, unknown> }[] } | null | undefined,
  ): Outcome => (result?.errors ? { code: result.errors[0]?.extensions?.['code'] } : { data: result?.data });
  const post = await api.ask(request);
  const url = new URL(`${api.url}${graphqlPath}`);
  for (const [name, value] of Object.entries(request)) {
    url.searchParams.set(name, typeof value === 'string' ? value : JSON.stringify(value));
  }
  const get = await fetch(url, {
    headers: { authorization: `Bearer ${await api.token()}`, 'apollo-require-preflight': '1' },
  });
  const wire = await connectWire(api.url, await api.token());
  const [first] = await runOverWire(wire, '1', { query: '', ...request });
  await wire.close();
  const errors = first?.type === 'error' ? [...(first.payload ?? [])] : first?.payload?.errors;
  const stream = await openEvents(api.url, await api.token(), request);
  // Refused before anything is sent, a stream is an ordinary answer.
  const event = stream.response.ok ? (await stream.next())?.data : ((await stream.response.json()) as EventResult);
  stream.leave();
  return {
    post: outcome(post.body),
    get: outcome((await get.json()) as object),
    socket: outcome(errors ? { errors } : { data: first?.payload?.data }),
    events: outcome(event),
  };
}
const all = (outcome: Outcome): Record<string, Outcome> => ({
  post: outcome,
  get: outcome,
  socket: outcome,
  events: outcome,
});
const agency = { data: { viewer: { agency: 'nasa' } } };

describe('with trusted documents enforced', () => {
  const api = serveSchema(testSchema, { trustedDocuments: { mode: 'enforce', manifest } });

  it('a document of the manifest runs by its id or its text, on every transport', async () => {
    expect(await everywhere(api, { documentId: id })).toEqual(all(agency));
    expect(await everywhere(api, { query: known })).toEqual(all(agency));
    const persistedQuery = { version: 1, sha256Hash: id.slice('sha256:'.length) };
    expect(await everywhere(api, { extensions: { persistedQuery } })).toEqual(all(agency));
  });

  it('any other is refused on every transport, by id or text', async () => {
    const refused = all({ code: 'DOCUMENT_NOT_TRUSTED' });
    expect(await everywhere(api, { query: other })).toEqual(refused);
    expect(await everywhere(api, { documentId: otherId })).toEqual(refused);
    expect(await everywhere(api, { query: `${known} ` })).toEqual(refused);
  });

  it('a text that is not the id’s is refused', async () => {
    expect(await everywhere(api, { documentId: id, query: other })).toEqual(all({ code: 'INVALID_INPUT' }));
  });
});

describe('with trusted documents logged', () => {
  const api = serveSchema(testSchema, { trustedDocuments: { mode: 'log', manifest } });

  it('any document runs, and one that is not known is told', async () => {
    expect(await everywhere(api, { query: known })).toEqual(all(agency));
    expect(api.log.some(({ message }) => String(message).includes('manifest'))).toBe(false);
    const answers = await everywhere(api, { query: other });
    expect(answers['socket']).toMatchObject({ data: { agencyWhoAsks: expect.any(String) } });
    expect(api.log.filter(({ message }) => String(message).includes('manifest'))).toHaveLength(4);
  });
});

describe('without trusted documents', () => {
  const api = serveSchema(testSchema);

  it('any text runs, and an id that nobody knows is refused', async () => {
    expect(await everywhere(api, { query: known })).toEqual(all(agency));
    expect(await everywhere(api, { documentId: id })).toEqual(all({ code: 'DOCUMENT_NOT_TRUSTED' }));
  });
});
