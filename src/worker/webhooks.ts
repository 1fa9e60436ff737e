/**
 * Delivers the outbox of endings, at least once. Workers do it and not the API: they reach out to sources anyway, while the API needs no
 * way out of its network at all; and they work as the agency's own login, which sees its own outbox and no other. Any number may run:
 * a delivery is held under a lease by the database's clock, and its count of attempts fences who comes back late.
 */
import { setTimeout as delay } from 'node:timers/promises';

import { connect, type Connection, createPool, type Pool, type Queryable } from '../db/pool.ts';
import { rolePassword } from '../db/roles.ts';
import {
  claimDeliveries,
  type DeliveryOutcome,
  dueWebhooks,
  type HeldDelivery,
  settleDelivery,
} from '../db/webhooks.ts';
import type { WebhookPolicy } from '../domain/webhook-address.ts';
import { openWebhookSecret } from '../domain/webhook-secret.ts';
import { toFluxError } from '../errors.ts';
import type { KeyRing } from '../keys/key-ring.ts';
import { postWebhook, type WebhookMessage } from './webhook-request.ts';

export interface WebhookOptions {
  /** Of flux_worker. */
  databaseUrl: string;
  contextKey: Buffer;
  keys: KeyRing;
  /** FLUX_DATA_KEY and those before it: of secrets that are not yet under their agency's key. */
  dataKeys: readonly Buffer[];
  policy: WebhookPolicy;
  log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
  times?: Partial<WebhookTimes>;
  random?: () => number;
}

export interface WebhookTimes {
  /** How often it looks. */
  everyMs: number;
  /** How long a receiver may take. */
  timeoutMs: number;
  /** Before the second attempt; doubled before each further one. */
  firstRetryMs: number;
  lastRetryMs: number;
  /** Then a delivery is dead, until somebody replays it. */
  attemptsMax: number;
}

/** Twelve attempts over about ten hours. */
const usualTimes: WebhookTimes = {
  everyMs: 1_000,
  timeoutMs: 10_000,
  firstRetryMs: 5_000,
  lastRetryMs: 4 * 3_600_000,
  attemptsMax: 12,
};
const atOnce = 20;

export function startWebhooks(options: WebhookOptions): { stop(): Promise<void> } {
  const stopping = new AbortController();
  const times = { ...usualTimes, ...options.times };
  const pool = createPool({
    url: options.databaseUrl,
    max: 1,
    applicationName: 'flux webhooks',
    statementTimeoutMs: 4_000,
    onError: (err) => options.log.warn({ err }, 'a connection of the webhooks broke'),
  });
  const done = (async () => {
    while (!stopping.signal.aborted) {
      const delivered = await deliverDue(options, pool, stopping.signal).catch((err: unknown) => {
        options.log.warn({ err }, 'nothing can be delivered now');
        return 0;
      });
      if (delivered < atOnce) await delay(times.everyMs, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
    await pool.end();
  })();
  return {
    async stop() {
      stopping.abort();
      await done;
    },
  };
}

/** One look over every agency. One whose receivers are slow or whose session fails keeps no other back. @returns how many were tried */
async function deliverDue(options: WebhookOptions, pool: Pool, signal: AbortSignal): Promise<number> {
  const agencies = await dueWebhooks(pool);
  const counts = await Promise.all(
    agencies.map((agency) =>
      deliverAgency(options, agency, signal).catch((err: unknown) => {
        options.log.warn({ err, agency: agency.agencyId }, 'an agency’s webhooks could not be delivered');
        return 0;
      }),
    ),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}

async function deliverAgency(
  options: WebhookOptions,
  { agencyId, role }: { agencyId: string; role: string },
  signal: AbortSignal,
): Promise<number> {
  if (signal.aborted) return 0;
  const times = { ...usualTimes, ...options.times };
  const url = new URL(options.databaseUrl);
  url.username = encodeURIComponent(role);
  url.password = rolePassword(options.contextKey, role);
  const session = await connect({ url: url.href, applicationName: 'flux webhooks' });
  try {
    const leaseSeconds = (times.timeoutMs * 2) / 1_000;
    const held = await claimDeliveries(session, { limit: atOnce, leaseSeconds });
    const prepared: { delivery: HeldDelivery; message: WebhookMessage | Error }[] = [];
    for (const delivery of held)
      prepared.push({ delivery, message: await messageOf(options, session, agencyId, delivery).catch(toFluxError) });
    const outcomes = await Promise.all(
      prepared.map(({ delivery, message }) => attempt(options, times, delivery, message)),
    );
    for (const [i, delivery] of held.entries())
      await settle(options, session, delivery, outcomes[i] as DeliveryOutcome);
    return held.length;
  } finally {
    await session.end().catch(() => undefined);
  }
}

async function settle(
  { log }: WebhookOptions,
  session: Connection,
  held: HeldDelivery,
  outcome: DeliveryOutcome,
): Promise<void> {
  await settleDelivery(session, held, outcome);
  const { id: delivery, webhookId, runId, attempts } = held;
  const fields = { delivery, webhookId, runId, attempts, status: outcome.lastStatus, error: outcome.lastError };
  if (outcome.status === 'DELIVERED') log.info(fields, 'a webhook was delivered');
  else log.warn(fields, outcome.status === 'DEAD' ? 'a webhook was given up' : 'a webhook will be tried again');
}

async function attempt(
  options: WebhookOptions,
  times: WebhookTimes,
  held: HeldDelivery,
  message: WebhookMessage | Error,
): Promise<DeliveryOutcome> {
  let lastStatus: number | null = null;
  let lastError: string | null = null;
  try {
    if (message instanceof Error) throw message;
    lastStatus = await postWebhook(held.url, message, { policy: options.policy, timeoutMs: times.timeoutMs });
    if (lastStatus >= 200 && lastStatus < 300) {
      return { status: 'DELIVERED', retryAfterSeconds: 0, lastStatus, lastError };
    }
    lastError = `The receiver answered ${String(lastStatus)}; 2xx was expected.`;
  } catch (cause) {
    // What a socket says may name an address inside; the receiver's owner gets the kind of failure.
    const { code } = cause as NodeJS.ErrnoException;
    const timedOut = cause instanceof Error && cause.name === 'TimeoutError';
    lastError = timedOut
      ? 'The receiver did not answer in time.'
      : `The receiver was not reached (${code ?? toFluxError(cause).code}).`;
    options.log.warn({ err: cause, delivery: held.id }, 'a webhook could not be sent');
  }
  const dead = held.attempts >= times.attemptsMax;
  return {
    status: dead ? 'DEAD' : 'PENDING',
    retryAfterSeconds: dead ? 0 : retrySeconds(options, times, held.attempts),
    lastStatus,
    lastError,
  };
}

/** Doubles each time; up to half is left out at random, so that what failed together does not come back together. */
function retrySeconds({ random = Math.random }: WebhookOptions, times: WebhookTimes, attempts: number): number {
  const full = Math.min(times.lastRetryMs, times.firstRetryMs * 2 ** (attempts - 1));
  return (full * (0.5 + random() / 2)) / 1_000;
}

/** CloudEvents 1.0. `id` stays the same over every attempt: receivers tell repeated ones apart by it. */
async function messageOf(
  { keys, dataKeys }: WebhookOptions,
  db: Queryable,
  agency: string,
  held: HeldDelivery,
): Promise<WebhookMessage> {
  const place = { agency, webhookId: held.webhookId };
  const sealed = held.previousSecret ? [held.secret, held.previousSecret] : [held.secret];
  const body = JSON.stringify({
    specversion: '1.0',
    id: held.id,
    source: `/agencies/${agency}/runs`,
    type: held.type,
    subject: held.runId,
    time: held.occurredAt.toISOString(),
    datacontenttype: 'application/json',
    data: held.data,
  });
  const secrets: Buffer[] = [];
  for (const one of sealed) secrets.push(await openWebhookSecret({ keys, db, dataKeys }, place, one));
  return { id: held.id, body, secrets };
}
