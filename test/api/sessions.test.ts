import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';

import { sql } from '../../src/db/sql.ts';
import { addIssuer, removeIssuer } from '../../src/domain/manage-issuers.ts';
import { graphqlPath } from '../../src/server/start-server.ts';
import { sealKey } from '../../src/db/migrate.ts';
import { createRevocations } from '../../src/domain/revocations.ts';
import { append, principalOf, quiet, silentHints, starts } from '../support/api.ts';
import { type ApiServer, startApiServer } from '../support/api-server.ts';
import { auditBodies } from '../support/audit.ts';
import { useDatabase } from '../support/database.ts';
import { insertRun } from '../support/fixtures.ts';
import { createTestIssuer, type TestIssuer } from '../support/tokens.ts';
import { openEvents, type EventWire } from './event-wire.ts';
import { askRest, restRequest } from './rest-wire.ts';
import type { Answer } from './serve.ts';
import { connectWire, openWire, type Wire } from './wire.ts';

const database = useDatabase();
let issuer: TestIssuer;
/** Two API processes side by side, as far as the database can tell. */
let one: ApiServer;
let other: ApiServer;
let runId: string;
let foreignRunId: string;

beforeAll(async () => {
  await database.addAgency('nasa');
  await database.addAgency('noaa');
  issuer = await createTestIssuer('https://login.example.gov');
  const issuers = [{ issuer, agencies: ['nasa', 'noaa'] }];
  one = await startApiServer(database, { issuers });
  other = await startApiServer(database, { issuers });
});
beforeEach(async () => {
  ({ runId } = await insertRun(database, 'nasa'));
  ({ runId: foreignRunId } = await insertRun(database, 'noaa'));
  await append(database, 'nasa', runId, [event()], starts);
  await append(database, 'noaa', foreignRunId, [event()], starts);
});
afterAll(() => Promise.all([one?.stop(), other?.stop()]));

const event = () => ({ name: 'BatchCommitted', message: 'one more', data: {} }) as const;
const events = (of = runId) => ({
  query: `subscription Watch { runEvents(runId: "${of}") { ... on RunEvent { seq cursor } } }`,
});
const seconds = (): number => Math.floor(Date.now() / 1_000);
const aliceAt = (server: ApiServer, claims = {}) => watch(server, { sub: 'alice@example.gov', ...claims });

/** A socket with one subscription that has delivered its first event. */
async function watch(server: ApiServer, claims: Record<string, unknown>, of = runId): Promise<Wire> {
  const wire = await connectWire(server.url, await issuer.sign(claims));
  onTestFinished(() => wire.close());
  wire.send({ id: '1', type: 'subscribe', payload: events(of) });
  expect((await wire.next()).payload?.data).toMatchObject({ runEvents: { seq: '1' } });
  return wire;
}

async function stream(server: ApiServer, claims: Record<string, unknown>): Promise<EventWire> {
  const wire = await openEvents(server.url, await issuer.sign(claims), events());
  onTestFinished(() => wire.leave());
  expect((await wire.next())?.data?.data).toMatchObject({ runEvents: { seq: '1' } });
  return wire;
}

async function ask(
  server: ApiServer,
  token: string,
  query: string,
  variables = {},
): Promise<{ status: number; body: Answer }> {
  const response = await fetch(`${server.url}${graphqlPath}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify({ query, variables }),
  });
  return { status: response.status, body: (await response.json()) as Answer };
}

const admin = (claims = {}) => issuer.sign({ role: 'admin', sub: 'ada@example.gov', ...claims });
const listing = `query($subject: String) { liveSubscriptions(subject: $subject) { edges { node {
  id subject issuer role transport field operationName ip userAgent requestId openedAt tokenExpiresAt } } } }`;

async function listed(server: ApiServer, subject: string, token?: string): Promise<Record<string, unknown>[]> {
  const { body } = await ask(server, token ?? (await admin()), listing, { subject });
  const page = body.data?.['liveSubscriptions'] as { edges: { node: Record<string, unknown> }[] };
  return page.edges.map(({ node }) => node);
}

const revoking = `mutation($input: RevokeSubscriptionsInput!) { revokeSubscriptions(input: $input) { __typename
  ... on Revocation { id subject tokenIds subscriptionCount reason revokedBy revokedAt } ... on Error { code message } } }`;

async function revoke(
  server: ApiServer,
  input: Record<string, unknown>,
  token?: string,
): Promise<Record<string, unknown>> {
  const { body } = await ask(server, token ?? (await admin()), revoking, { input });
  return body.data?.['revokeSubscriptions'] as Record<string, unknown>;
}

describe('live subscriptions', () => {
  it('of every server are listed to the agency’s admin, and leave the list when they end', async () => {
    const sub = 'listed@example.gov';
    const wire = await watch(one, { sub });
    await stream(other, { sub, role: 'viewer' });
    const found = await vi.waitFor(
      async () => {
        const rows = await listed(one, sub);
        expect(rows).toHaveLength(2);
        return rows;
      },
      { timeout: 25_000, interval: 50 },
    );
    expect(found).toEqual(await listed(other, sub));
    expect(found).toMatchObject([
      {
        subject: sub,
        issuer: issuer.issuer,
        role: 'operator',
        transport: 'websocket',
        field: 'runEvents',
        operationName: 'Watch',
      },
      { subject: sub, role: 'viewer', transport: 'sse', ip: '127.0.0.1', userAgent: 'node' },
    ]);
    wire.send({ id: '1', type: 'complete' });
    await vi.waitFor(async () => expect(await listed(other, sub)).toHaveLength(1), { timeout: 25_000, interval: 50 });
  });

  it('are nobody else’s: not of another agency, not of another role', async () => {
    const sub = 'private@example.gov';
    await watch(one, { sub });
    await vi.waitFor(async () => expect(await listed(one, sub)).toHaveLength(1), { timeout: 25_000, interval: 50 });
    const id = (await listed(one, sub))[0]?.['id'];
    expect(await listed(one, sub, await admin({ agency: 'noaa' }))).toEqual([]);
    for (const role of ['operator', 'analyzer', 'viewer']) {
      const { body } = await ask(one, await issuer.sign({ role }), listing);
      expect(body).toMatchObject({
        data: { liveSubscriptions: null },
        errors: [{ extensions: { code: 'FORBIDDEN' } }],
      });
    }
    const node = `query($id: ID!) { node(id: $id) { ... on LiveSubscription { subject } } }`;
    expect((await ask(one, await admin(), node, { id })).body.data).toEqual({ node: { subject: sub } });
    expect((await ask(one, await admin({ agency: 'noaa' }), node, { id })).body).toEqual({ data: { node: null } });
  });

  it('of a server that stops leave the list, and of one that was killed are not listed for long', async () => {
    const stopping = await startApiServer(database, { issuers: [{ issuer, agencies: ['nasa'] }] });
    const sub = 'leaving@example.gov';
    await watch(stopping, { sub });
    await vi.waitFor(async () => expect(await listed(one, sub)).toHaveLength(1), { timeout: 25_000, interval: 50 });
    await stopping.stop();
    expect(await listed(one, sub)).toEqual([]);
    await watch(one, { sub });
    await vi.waitFor(async () => expect(await listed(one, sub)).toHaveLength(1), { timeout: 25_000, interval: 50 });
    // What a server that is gone has said last.
    const { rowCount } = await database.admin().query(sql`
      update flux.live_subscriptions set seen_at = clock_timestamp() - interval '31 seconds' where subject = ${sub}
    `);
    expect(rowCount).toBe(1);
    expect(await listed(one, sub)).toEqual([]);
  });
});

describe('an issuer that is trusted no more', () => {
  const registering = async (): Promise<TestIssuer> => {
    const registered = await createTestIssuer('https://partner.example.gov');
    await addIssuer(managing(), {
      issuer: registered.issuer,
      jwksUri: null,
      jwks: registered.jwks,
      audience: null,
      agencies: ['nasa', 'noaa'],
    });
    return registered;
  };
  const managing = () => ({
    adminUrl: database.adminUrl,
    contextKey: database.contextKey,
    environment: 'production' as const,
    actor: 'operator:test',
  });
  const opened = async (by: TestIssuer, server: ApiServer, agency: string): Promise<Wire> => {
    const wire = await connectWire(server.url, await by.sign({ agency }));
    onTestFinished(() => wire.close());
    wire.send({ id: '1', type: 'subscribe', payload: events(agency === 'nasa' ? runId : foreignRunId) });
    await wire.next();
    return wire;
  };

  it('ends what is open under its tokens, on every server and for the agencies that it lost alone', async () => {
    const partner = await registering();
    const narrowed = await Promise.all([opened(partner, one, 'nasa'), opened(partner, other, 'nasa')]);
    const sse = await openEvents(other.url, await partner.sign({ agency: 'nasa' }), events());
    onTestFinished(() => sse.leave());
    await sse.next();
    const kept = await opened(partner, one, 'noaa');
    const bystander = await watch(one, { sub: 'bystander@example.gov' });
    // Written anew it is trusted as before.
    await addIssuer(managing(), {
      issuer: partner.issuer,
      jwksUri: null,
      jwks: partner.jwks,
      audience: null,
      agencies: ['nasa'],
    });

    await removeIssuer(managing(), { issuer: partner.issuer, agencies: ['nasa'] });
    for (const { closed } of narrowed) expect(await closed).toEqual({ code: 4403, reason: 'Forbidden' });
    for (let event = await sse.next(); event; event = await sse.next()) expect(event.event).not.toBe('complete');
    await append(database, 'nasa', runId, [event()]);
    await append(database, 'noaa', foreignRunId, [event()]);
    expect((await bystander.next()).type).toBe('next');
    expect((await kept.next()).type).toBe('next');
    await vi.waitFor(
      async () =>
        expect((await ask(one, await partner.sign({ agency: 'nasa' }), '{ viewer { agency } }')).status).toBe(401),
      { timeout: 20_000 },
    );

    await removeIssuer(managing(), { issuer: partner.issuer, agencies: null });
    expect((await kept.closed).code).toBe(4403);
  });

  it('needs no hint: a poll finds it', async () => {
    const deaf = await startApiServer(database, { issuers: [], hints: silentHints() });
    onTestFinished(() => deaf.stop());
    const partner = await registering();
    const wire = await opened(partner, deaf, 'nasa');
    await removeIssuer(managing(), { issuer: partner.issuer, agencies: null });
    expect((await wire.closed).code).toBe(4403);
  });
});

describe('revoking', () => {
  it('a person ends all that runs under its tokens, on every server, and nothing comes after', async () => {
    const token = await issuer.sign({ sub: 'alice@example.gov' });
    const wires = await Promise.all([aliceAt(one), aliceAt(other, { role: 'viewer' })]);
    const sse = await stream(other, { sub: 'alice@example.gov' });
    const bystander = await watch(other, { sub: 'bob@example.gov' });
    const namesake = await watch(other, { sub: 'alice@example.gov', agency: 'noaa' }, foreignRunId);
    await vi.waitFor(async () => expect(await listed(one, 'alice@example.gov')).toHaveLength(3), { timeout: 25_000 });

    const result = await revoke(one, { subject: 'alice@example.gov', reason: 'left the agency' });
    expect(result).toMatchObject({
      __typename: 'Revocation',
      subject: 'alice@example.gov',
      tokenIds: null,
      subscriptionCount: 3,
      reason: 'left the agency',
      revokedBy: 'ada@example.gov',
    });
    expect(await Promise.all(wires.map(({ closed }) => closed))).toEqual([
      { code: 4403, reason: 'Forbidden' },
      { code: 4403, reason: 'Forbidden' },
    ]);
    expect(await sse.next()).toBeNull(); // cut, without `complete`

    await append(database, 'nasa', runId, [event()]);
    expect((await bystander.next()).payload?.data).toMatchObject({ runEvents: { seq: '2' } });
    for (const wire of wires) await expect(wire.next()).rejects.toThrow(/closed/);
    await append(database, 'noaa', foreignRunId, [event()]);
    expect((await namesake.next()).payload?.data).toMatchObject({ runEvents: { seq: '2' } });

    // Every token of before is refused everywhere; a later one is good.
    for (const server of [one, other]) {
      await becomes401(server, token);
      expect((await askRest(server.url, token, restRequest('viewer', {}))).status).toBe(401);
      await expect(connectWire(server.url, token)).rejects.toThrow(/4403/);
      expect((await openEvents(server.url, token, events())).response.status).toBe(401);
    }
    const later = await issuer.sign({ sub: 'alice@example.gov', iat: seconds() + 2 });
    expect((await ask(other, later, '{ viewer { agency } }')).status).toBe(200);
    expect((await askRest(other.url, later, restRequest('viewer', {}))).status).toBe(200);
    expect(await lastAudit('subscription.revoke')).toMatchObject({
      success: true,
      resourceType: 'subject',
      resourceId: 'alice@example.gov',
      reason: 'left the agency',
      after: { subject: 'alice@example.gov', subscriptions: 3 },
    });
  });

  it('needs no hint: a poll finds it', async () => {
    const deaf = await startApiServer(database, { issuers: [{ issuer, agencies: ['nasa'] }], hints: silentHints() });
    onTestFinished(() => deaf.stop());
    const wire = await watch(deaf, { sub: 'deaf@example.gov' });
    await revoke(one, { subject: 'deaf@example.gov', reason: 'test' });
    expect((await wire.closed).code).toBe(4403);
  });

  it('is found by the second poll at the latest, and two polls come within two seconds of the clock', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    onTestFinished(() => void vi.useRealTimers());
    const revocations = createRevocations({
      pool: database.apiPool(),
      seal: sealKey(database.contextKey),
      hints: silentHints(),
      logger: quiet,
    });
    onTestFinished(() => revocations.stop());
    const subject = 'polled@example.gov';
    let ended = false;
    revocations.watch(principalOf('nasa', { subject }), () => (ended = true));
    // A reading that began before the revocation may find it or not; the one after it does.
    vi.advanceTimersByTime(1_000);
    await revoke(one, { subject, reason: 'test' });
    vi.advanceTimersByTime(1_999);
    await vi.waitFor(() => expect(ended).toBe(true), { timeout: 25_000, interval: 20 });
  });

  it('a subscription refuses its token, and leaves the person’s other tokens good', async () => {
    const sub = 'carol@example.gov';
    const token = await issuer.sign({ sub, jti: 'lost-laptop' });
    const lost = await connectWire(other.url, token);
    lost.send({ id: '1', type: 'subscribe', payload: events() });
    await lost.next();
    const kept = await watch(one, { sub, role: 'viewer' });
    const rows = await vi.waitFor(
      async () => {
        const found = await listed(one, sub);
        expect(found).toHaveLength(2);
        return found;
      },
      { timeout: 25_000, interval: 50 },
    );
    const id = rows.find(({ role }) => role === 'operator')?.['id'];
    expect(await revoke(one, { subscriptionIds: [id], reason: 'laptop lost' })).toMatchObject({
      __typename: 'Revocation',
      subject: null,
      tokenIds: ['lost-laptop'],
      subscriptionCount: 1,
    });
    expect((await lost.closed).code).toBe(4403);
    // Each server learns of it by itself, this one as well.
    await becomes401(one, token);
    await append(database, 'nasa', runId, [event()]);
    expect((await kept.next()).type).toBe('next');
    expect((await ask(one, await issuer.sign({ sub }), '{ viewer { agency } }')).status).toBe(200);
  });

  it('of another agency’s subscription answers as of one that does not exist, and is audited', async () => {
    const sub = 'noaa-only@example.gov';
    await watch(one, { sub, agency: 'noaa' }, foreignRunId);
    const theirs = await admin({ agency: 'noaa' });
    await vi.waitFor(async () => expect(await listed(one, sub, theirs)).toHaveLength(1), { timeout: 25_000 });
    const id = (await listed(one, sub, theirs))[0]?.['id'];
    const answers = [];
    for (const target of [id, '00000000-0000-7000-8000-000000000000', 'nonsense']) {
      answers.push(await revoke(one, { subscriptionIds: [target], reason: 'test' }));
    }
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(answers[0]).toMatchObject({ __typename: 'ValidationError', code: 'NOT_FOUND' });
    expect(await lastAudit('subscription.revoke')).toMatchObject({ success: false, errorCode: 'NOT_FOUND' });
    expect(await listed(one, sub, theirs)).toHaveLength(1);
  });

  it('with one key is done once', async () => {
    const input = { subject: 'dave@example.gov', reason: 'test', idempotencyKey: 'k1' };
    expect((await revoke(one, input))['id']).toBe((await revoke(other, input))['id']);
  });

  it.each([
    [{ subject: 'x', reason: ' ' }, /reason is needed/],
    [{ reason: 'r' }, /either a subject or subscriptionIds/],
    [{ subject: 'x', subscriptionIds: ['y'], reason: 'r' }, /either a subject or subscriptionIds/],
    [{ subject: '', reason: 'r' }, /1 to 255/],
    [{ subject: 'x\0', reason: 'r' }, /1 to 255/],
    [{ subscriptionIds: [], reason: 'r' }, /1 to 200/],
  ])('%j is refused', async (input, message) => {
    const answer = await revoke(one, input);
    expect(answer).toMatchObject({ __typename: 'ValidationError', code: 'INVALID_INPUT' });
    expect(answer['message']).toMatch(message);
  });

  it('is for who holds security:write', async () => {
    const { body } = await ask(one, await issuer.sign({ role: 'operator' }), revoking, {
      input: { subject: 'bob@example.gov', reason: 'r' },
    });
    expect(body.errors?.[0]?.extensions).toMatchObject({ code: 'FORBIDDEN' });
  });
});

function becomes401(server: ApiServer, token: string): Promise<void> {
  return vi.waitFor(async () => expect((await ask(server, token, '{ viewer { agency } }')).status).toBe(401), {
    timeout: 25_000,
    interval: 50,
  });
}

describe('a newer token in a ping', () => {
  const ping = async (wire: Wire, token: string) => {
    wire.send({ type: 'ping', payload: { authorization: `Bearer ${token}` } });
    return (await wire.next()) as unknown as { type: string; payload: Record<string, unknown> };
  };

  it('lets what runs go on beyond the end of the old one, without losing an event', async () => {
    const sub = 'refresher@example.gov';
    const own = await freshRun();
    const end = seconds() + 6;
    const wire = await watch(one, { sub, exp: end }, own);
    const exp = seconds() + 600;
    const pong = await ping(wire, await issuer.sign({ sub, exp, jti: 'newer' }));
    expect(pong).toEqual({
      type: 'pong',
      payload: { refreshed: true, expiresAt: new Date(exp * 1_000).toISOString() },
    });
    await vi.waitFor(() => expect(Date.now()).toBeGreaterThan(end * 1_000 + 200), { timeout: 25_000, interval: 100 });
    for (let n = 2; n <= 4; n += 1) {
      await append(database, 'nasa', own, [event()]);
      expect((await wire.next()).payload?.data).toMatchObject({ runEvents: { seq: String(n) } });
    }
    expect(await listed(one, sub)).toMatchObject([{ tokenExpiresAt: new Date(exp * 1_000).toISOString() }]);
    // A new operation runs under it as well, and a revocation finds it.
    wire.send({ id: '2', type: 'subscribe', payload: { query: '{ viewer { expiresAt } }' } });
    expect((await wire.next()).payload?.data).toEqual({ viewer: { expiresAt: new Date(exp * 1_000).toISOString() } });
    expect((await wire.next()).type).toBe('complete');
    await revoke(other, { subscriptionIds: [(await listed(one, sub))[0]?.['id']], reason: 'test' });
    expect((await wire.closed).code).toBe(4403);
  });

  it('of another person, agency, role or clearance is refused, and the old one holds to its end', async () => {
    const sub = 'faithful@example.gov';
    const end = seconds() + 6;
    const wire = await watch(one, { sub, exp: end }, await freshRun());
    for (const claims of [{ sub: 'mallory@example.gov' }, { agency: 'noaa' }, { role: 'admin' }, { clearance: 'TS' }]) {
      const { payload } = await ping(wire, await issuer.sign({ sub, ...claims }));
      expect(payload).toMatchObject({ refreshed: false, code: 'FORBIDDEN' });
    }
    for (const token of ['x', await issuer.sign({ sub, exp: 1, iat: 0 }), await issuer.sign({ sub, aud: 'other' })]) {
      const { payload } = await ping(wire, token);
      expect(payload).toMatchObject({ refreshed: false, code: 'UNAUTHENTICATED' });
      expect(JSON.stringify(payload)).not.toContain(token);
    }
    expect((await wire.closed).code).toBe(4403);
    expect(Date.now()).toBeGreaterThanOrEqual(end * 1_000);
  });

  it('that ends earlier changes nothing, and one before connection_init is nothing', async () => {
    const sub = 'steady@example.gov';
    const wire = await watch(one, { sub }, await freshRun());
    const { payload } = await ping(wire, await issuer.sign({ sub, exp: seconds() + 5 }));
    expect(Date.parse(payload['expiresAt'] as string)).toBeGreaterThan(Date.now() + 100_000);
    const early = await openWire(one.url);
    onTestFinished(() => early.close());
    expect((await ping(early, await issuer.sign({ sub }))).payload).toMatchObject({ refreshed: false });
    early.send({ id: '1', type: 'subscribe', payload: events() });
    expect((await early.closed).code).toBe(4401);
  });
});

async function freshRun(): Promise<string> {
  const { runId: own } = await insertRun(database, 'nasa');
  await append(database, 'nasa', own, [event()], starts);
  return own;
}

async function lastAudit(action: string): Promise<Record<string, unknown> | undefined> {
  return (await auditBodies(database, 'nasa')).filter((entry) => entry['action'] === action).at(-1);
}
