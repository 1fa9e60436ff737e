/** Webhooks from a run's ending to the receiver: outbox, signatures, retries, dead letters, replay, isolation. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';

import { Webhook as Verifier } from 'standardwebhooks';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { createFlux, successOf } from '#sdk';
import { sql } from '../../src/db/sql.ts';
import { startWebhooks, type WebhookTimes } from '../../src/worker/webhooks.ts';
import { append, auditOf, starts } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { flux as run, temporaryFolder } from '../support/flux.ts';
import { gate } from '../support/runs.ts';
import {
  definitions,
  history,
  serveApi,
  ensureWebhookKeys,
  webhookDataKey,
  webhookKeys,
  webhookPolicy,
} from '../support/served-api.ts';

const database = useDatabase();
const api = serveApi(database);
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Received {
  headers: Record<string, string>;
  body: string;
  event: { id: string; type: string; subject: string; specversion: string; data: Record<string, unknown> };
}

/** A receiver that answers what it is told to, 204 in the end. `hold` is called instead of an answer. */
async function receiver(...answers: (number | { hold(): void })[]) {
  const received: Received[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (data: Buffer) => (body += data.toString()));
    request.on('end', () => {
      const event = JSON.parse(body) as Received['event'];
      received.push({ headers: flat(request.headers), body, event });
      const status = answers.shift() ?? 204;
      if (typeof status === 'object') {
        status.hold();
        return;
      }
      response.writeHead(status, status === 302 ? { location: 'http://127.0.0.1:1/' } : {}).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return { url: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}/hook`, received };
}

function flat(headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
}

const flux = (token = 'nasa/admin') => {
  const client = createFlux({ url: api.url, token });
  cleanups.push(() => client.close());
  return client.api;
};

function deliver(times: Partial<WebhookTimes> = {}): void {
  const sender = startWebhooks({
    databaseUrl: database.workerUrl,
    contextKey: database.contextKey,
    keys: webhookKeys,
    dataKeys: [webhookDataKey],
    policy: webhookPolicy,
    log: { info: () => undefined, warn: () => undefined },
    times: { everyMs: 50, firstRetryMs: 40, ...times },
  });
  cleanups.push(() => sender.stop());
}

/** A sender of its own process. */
function sendingProcess(timeoutMs: number): ChildProcess {
  const script = fileURLToPath(new URL('../support/webhook-sender.ts', import.meta.url));
  const { workerUrl: databaseUrl, contextKey } = database;
  const settings = JSON.stringify({ databaseUrl, contextKey: contextKey.toString('hex'), timeoutMs });
  const child = spawn(process.execPath, [script, settings], { stdio: 'inherit' });
  cleanups.push(() => void child.kill('SIGKILL'));
  return child;
}

async function endedRun(ending: 'RunCompleted' | 'RunFailed' = 'RunCompleted'): Promise<string> {
  const { runId } = successOf(await flux('nasa/operator').startRun({ pipeline: 'readings' }));
  const run = history(database, 'nasa', runId);
  await run.start();
  if (ending === 'RunCompleted') await run.complete();
  else {
    await append(database, 'nasa', runId, [{ name: 'RunFailed', message: 'failed' }], {
      from: ['IN_PROGRESS'],
      to: 'FAILED',
      finishes: true,
      failure: { class: 'TERMINAL', code: 'SOURCE_INVALID', message: 'no' },
    });
  }
  return runId;
}

async function register(url: string, types?: string[]) {
  const { webhook, secret } = successOf(await flux().registerWebhook({ url, ...(types ? { types } : {}) }));
  cleanups.push(async () => {
    await database.admin().query(sql`delete from flux.webhooks where agency_id = 'nasa'`);
  });
  return { webhookId: webhook.id, secret };
}

const deliveriesOf = async (webhookId: string) =>
  (await flux().webhookDeliveries({ webhookId })).edges.map(({ node }) => node);

beforeAll(async () => {
  await database.addAgency('nasa');
  await database.addAgency('noaa');
  await ensureWebhookKeys(database);
  const admin = createFlux({ url: api.url, token: 'nasa/admin' });
  successOf(await admin.api.registerConnection({ definition: definitions.connection }));
  successOf(await admin.api.registerContract({ name: 'reading', document: definitions.contract }));
  successOf(await admin.api.registerPipeline({ definition: definitions.pipeline }));
  admin.close();
});

describe('the endings of runs', () => {
  it('reach a receiver as signed CloudEvents', async () => {
    const { url, received } = await receiver();
    const { secret } = await register(url);
    const completed = await endedRun();
    const failed = await endedRun('RunFailed');
    deliver();
    await expect.poll(() => received.length, { timeout: 20_000 }).toBe(2);
    const byRun = new Map(received.map((one) => [one.event.subject, one]));
    expect(byRun.get(completed)?.event).toMatchObject({
      specversion: '1.0',
      source: '/agencies/nasa/runs',
      type: 'gov.flux.run.completed',
      data: { runId: completed, pipeline: 'readings', attempt: 1, seq: '3', failureCode: null },
    });
    expect(byRun.get(failed)?.event).toMatchObject({
      type: 'gov.flux.run.failed',
      data: { failureCode: 'SOURCE_INVALID' },
    });
    for (const { headers, body, event } of received) {
      expect(headers['content-type']).toBe('application/cloudevents+json; charset=utf-8');
      expect(headers['webhook-id']).toBe(event.id);
      expect(new Verifier(secret).verify(body, headers)).toEqual(event);
      expect(() => new Verifier(secret).verify(`${body} `, headers)).toThrow();
    }
  });

  it('reach one that asked for them only', async () => {
    const { url, received } = await receiver();
    await register(url, ['gov.flux.run.failed']);
    await endedRun();
    const failed = await endedRun('RunFailed');
    deliver();
    await expect.poll(() => received.map(({ event }) => event.subject), { timeout: 20_000 }).toEqual([failed]);
  });

  it('leave nothing in the outbox when their transaction is rolled back', async () => {
    const { webhookId } = await register((await receiver()).url);
    const { runId } = successOf(await flux('nasa/operator').startRun({ pipeline: 'readings' }));
    await append(database, 'nasa', runId, [{ name: 'RunStarted', message: 'started' }], starts);
    await expect(
      append(database, 'nasa', runId, [{ name: 'RunCompleted', message: 'x' }], {
        from: ['PENDING'],
        to: 'COMPLETED',
        finishes: true,
      }),
    ).rejects.toThrow();
    expect(await deliveriesOf(webhookId)).toEqual([]);
  });
});

describe('a receiver that does not take it', () => {
  it('is tried again under the same id, and not led elsewhere', async () => {
    const { url, received } = await receiver(500, 302);
    const { webhookId } = await register(url);
    await endedRun();
    deliver();
    await expect
      .poll(() => deliveriesOf(webhookId), { timeout: 20_000 })
      .toMatchObject([{ status: 'DELIVERED', attempts: 3, lastStatus: 204 }]);
    expect(new Set(received.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
  });

  it('gets it again, under the same id, when the sender is killed before it could record the delivery', async () => {
    const taken = gate();
    const { url, received } = await receiver({ hold: taken.open });
    const { webhookId } = await register(url);
    await endedRun();
    const killed = sendingProcess(1_000);
    await taken.passed;
    killed.kill('SIGKILL');
    await once(killed, 'exit');
    expect(await deliveriesOf(webhookId)).toMatchObject([{ status: 'PENDING', attempts: 1, lastStatus: null }]);
    deliver();
    await expect
      .poll(() => deliveriesOf(webhookId), { timeout: 20_000 })
      .toMatchObject([{ status: 'DELIVERED', attempts: 2 }]);
    expect(received).toHaveLength(2);
    expect(received[1]?.headers['webhook-id']).toBe(received[0]?.headers['webhook-id']);
    expect(received[1]?.body).toBe(received[0]?.body);
  });

  it('that is too slow is told so, and tried again', async () => {
    const taken = gate();
    const { url } = await receiver({ hold: taken.open });
    const { webhookId } = await register(url);
    await endedRun();
    deliver({ timeoutMs: 500, attemptsMax: 1 });
    await taken.passed;
    await expect
      .poll(() => deliveriesOf(webhookId), { timeout: 20_000 })
      .toMatchObject([{ status: 'DEAD', lastError: 'The receiver did not answer in time.' }]);
  });

  it('ends as a dead letter, which is replayed', async () => {
    const { url, received } = await receiver(500, 500);
    const { webhookId } = await register(url);
    await endedRun();
    deliver({ attemptsMax: 2 });
    await expect
      .poll(() => deliveriesOf(webhookId), { timeout: 20_000 })
      .toMatchObject([{ status: 'DEAD', attempts: 2, lastError: 'The receiver answered 500; 2xx was expected.' }]);
    const [dead] = await deliveriesOf(webhookId);
    successOf(await flux().replayWebhookDelivery({ deliveryId: dead?.deliveryId ?? '', reason: 'mended' }));
    await expect
      .poll(() => deliveriesOf(webhookId), { timeout: 20_000 })
      .toMatchObject([{ status: 'DELIVERED', attempts: 1 }]);
    expect(received).toHaveLength(3);
    expect(await auditOf(database, 'nasa')).toContainEqual(
      expect.objectContaining({ action: 'webhook.replay', success: true }),
    );
  });

  it('gets it from one of several senders at a time', async () => {
    const { url, received } = await receiver();
    const { webhookId } = await register(url);
    const runs = [await endedRun(), await endedRun(), await endedRun(), await endedRun()];
    for (let i = 0; i < 3; i += 1) deliver();
    await expect
      .poll(async () => (await deliveriesOf(webhookId)).filter(({ status }) => status === 'DELIVERED').length, {
        timeout: 20_000,
      })
      .toBe(4);
    expect(received.map(({ event }) => event.subject).sort()).toEqual(runs.sort());
  });
});

describe('an admin', () => {
  it('rotates the secret; both sign for a day', async () => {
    const { url, received } = await receiver();
    const { webhookId, secret } = await register(url);
    const rotated = successOf(await flux().rotateWebhookSecret({ webhookId })).secret;
    expect(rotated).not.toBe(secret);
    await endedRun();
    deliver();
    await expect.poll(() => received.length, { timeout: 20_000 }).toBe(1);
    const [{ body, headers }] = received as [Received];
    for (const one of [secret, rotated]) expect(new Verifier(one).verify(body, headers)).toBeTruthy();
  });

  it('disables, enables and deletes', async () => {
    const { url, received } = await receiver();
    const { webhookId } = await register(url);
    successOf(await flux().setWebhookEnabled({ webhookId, enabled: false }));
    await endedRun();
    expect(await deliveriesOf(webhookId)).toEqual([]);
    successOf(await flux().setWebhookEnabled({ webhookId, enabled: true }));
    await endedRun();
    deliver();
    await expect.poll(() => received.length, { timeout: 20_000 }).toBe(1);
    expect(successOf(await flux().deleteWebhook({ webhookId }))).toMatchObject({ url });
    expect((await flux().webhooks()).edges).toEqual([]);
    expect(await flux().deleteWebhook({ webhookId })).toMatchObject({ code: 'NOT_FOUND' });
  });

  it('sees the secret of an equal request again, and it is stored sealed', async () => {
    const { url } = await receiver();
    const asked = { url, idempotencyKey: 'hook-1' };
    const first = successOf(await flux().registerWebhook(asked));
    expect(successOf(await flux().registerWebhook(asked)).secret).toBe(first.secret);
    const { rows } = await database.admin().query<{ secret: Buffer }>(sql`select secret from flux.webhooks`);
    const plain = Buffer.from(first.secret.slice('whsec_'.length), 'base64');
    for (const row of rows) expect(row.secret.includes(plain)).toBe(false);
    expect(JSON.stringify(await auditOf(database, 'nasa'))).not.toContain(first.secret);
    await database.admin().query(sql`delete from flux.webhooks where agency_id = 'nasa'`);
  });

  it('of another agency sees and changes nothing of it, and no other role does', async () => {
    const { webhookId } = await register((await receiver()).url);
    expect((await flux('noaa/admin').webhooks()).edges).toEqual([]);
    expect((await flux('noaa/admin').webhookDeliveries({ webhookId })).edges).toEqual([]);
    expect(await flux('noaa/admin').rotateWebhookSecret({ webhookId })).toMatchObject({ code: 'NOT_FOUND' });
    await expect(flux('nasa/operator').webhooks()).rejects.toMatchObject({ code: 'FORBIDDEN' });
    await expect(flux('nasa/operator').registerWebhook({ url: 'https://example.gov/' })).rejects.toMatchObject({
      code: 'FORBIDDEN',
    });
  });

  it.each([
    ['ftp://example.gov/', 'should begin with https:'],
    ['https://user:secret@example.gov/', 'user or a password'],
    ['https://10.0.0.7/', 'not public'],
    ['https://169.254.169.254/latest/meta-data', 'not public'],
    ['https://[::1]/', 'not public'],
    ['https://[::ffff:10.0.0.7]/', 'not public'],
    ['https://0x7f.1.1/', 'not public'],
    ['nowhere', 'should be an address'],
  ])('may not register %s', async (url, why) => {
    expect(await flux().registerWebhook({ url })).toMatchObject({
      __typename: 'ValidationError',
      message: expect.stringContaining(why) as string,
    });
  });
});

describe('the command line', () => {
  it('registers, lists, shows deliveries, makes a dead one again and removes', async () => {
    const { url } = await receiver();
    const home = await temporaryFolder('webhooks');
    cleanups.push(() => home.remove());
    const command = (...args: string[]) =>
      run(['webhooks', ...args], { home: home.folder, env: { FLUX_URL: api.url, FLUX_TOKEN: 'nasa/admin' } });
    const added = await command('add', url, '--on', 'completed', '--description', 'the data desk', '--json');
    expect(added).toMatchObject({ code: 0, stderr: '' });
    const { id, secret } = JSON.parse(added.stdout) as { id: string; secret: string };
    expect(secret).toMatch(/^whsec_/);
    expect((await command('list')).stdout).toMatch(/yes +completed +the data desk/);
    await endedRun();
    await database.admin().query(sql`
      update flux.webhook_deliveries
      set status = 'DEAD', finished_at = clock_timestamp(), last_error = 'it was away'
      where agency_id = 'nasa'
    `);
    const [dead] = await deliveriesOf(id);
    const shown = await command('deliveries', id, '--status', 'DEAD');
    expect(shown.stdout).toMatch(/gov\.flux\.run\.completed .* DEAD .* it was away/);
    const again = await command('replay', dead?.deliveryId ?? '', '--reason', 'it is back', '--json');
    expect(JSON.parse(again.stdout)).toMatchObject({ status: 'PENDING' });
    expect(await command('remove', id)).toMatchObject({ code: 0, stderr: '' });
    expect(await command('remove', id)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^NOT_FOUND/) as string,
    });
  }, 120_000);
});
