import { type Command, InvalidArgumentError, Option } from 'commander';

import type { Flux, WebhookDeliveryStatus } from '#sdk';
import { type ApiOptions, withApi, withApiOptions } from '../api.ts';
import { successOf } from '../client.ts';
import { print, printJson, printTable } from '../output.ts';

type Delivery = Awaited<ReturnType<Flux['api']['webhookDeliveries']>>['edges'][number]['node'];

const endings = ['completed', 'failed', 'cancelled'] as const;
const statuses = ['PENDING', 'DELIVERED', 'DEAD'] as const;

interface ChangeOptions extends ApiOptions {
  reason?: string;
  idempotencyKey?: string;
}

/** flux webhooks add | list | rotate | remove | deliveries | replay; all need the role admin. */
export function addWebhooks(program: Command): void {
  const webhooks = program
    .command('webhooks')
    .description('Webhooks: who is told of the endings of runs (role admin).');
  changing(webhooks.command('add'))
    .description('Register an address; its secret is shown this once.')
    .argument('<url>', 'where to')
    .addOption(new Option('--on <ending...>', 'which endings; all if absent').choices(endings))
    .option('--description <text>', 'what it is for')
    .action(add);
  withApiOptions(webhooks.command('list')).description('List webhooks, the oldest first.').action(list);
  changing(webhooks.command('rotate'))
    .description('Give a webhook another secret, shown this once. For 24 hours requests carry the signatures of both.')
    .argument('<id>', 'its id')
    .action(rotate);
  changing(webhooks.command('remove'))
    .description('Delete a webhook with its outbox and the history of its deliveries.')
    .argument('<id>', 'its id')
    .action(remove);
  withApiOptions(webhooks.command('deliveries'))
    .description('List what was and is to be delivered to a webhook, the newest first.')
    .argument('<id>', 'the webhook’s id')
    .addOption(new Option('--status <status>', 'only those that stand so').choices(statuses))
    .option('--first <count>', 'how many, at most 200', count, 20)
    .action(deliveries);
  changing(webhooks.command('replay'))
    .description('Make a delivery again that was delivered or given up.')
    .argument('<delivery>', 'the delivery’s id')
    .action(replay);
}

function changing(command: Command): Command {
  return withApiOptions(command)
    .option('--reason <text>', 'why, for the audit log')
    .option('--idempotency-key <key>', 'repeating the command with the same key does it once');
}

const asked = ({ reason, idempotencyKey }: ChangeOptions) => ({
  ...(reason === undefined ? {} : { reason }),
  ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
});

async function add(url: string, options: ChangeOptions & { on?: string[]; description?: string }): Promise<void> {
  await withApi(options, async ({ flux }) => {
    const types = options.on?.map((ending) => `gov.flux.run.${ending}`) ?? null;
    const { description = null } = options;
    const made = successOf(await flux.api.registerWebhook({ url, types, description, ...asked(options) }));
    if (options.json) return printJson({ id: made.webhook.id, url, secret: made.secret });
    print(`Webhook ${made.webhook.id} tells ${url}.`);
    print(`Its secret, shown this once: ${made.secret}`);
  });
}

async function list(options: ApiOptions): Promise<void> {
  await withApi(options, async ({ flux }) => {
    const all = (await flux.api.webhooks({ first: 200 })).edges.map(({ node }) => node);
    if (options.json) return printJson(all);
    if (all.length === 0) return print('There are no webhooks. Register one with flux webhooks add URL.');
    printTable(
      ['webhook', 'url', 'enabled', 'on', 'description'],
      all.map(({ id, url, enabled, types, description }) => [
        id,
        url,
        enabled ? 'yes' : 'no',
        types.map((type) => type.replace('gov.flux.run.', '')).join(' '),
        description ?? '',
      ]),
    );
  });
}

async function rotate(webhookId: string, options: ChangeOptions): Promise<void> {
  await withApi(options, async ({ flux }) => {
    const { secret } = successOf(await flux.api.rotateWebhookSecret({ webhookId, ...asked(options) }));
    if (options.json) return printJson({ id: webhookId, secret });
    print(`The new secret of webhook ${webhookId}, shown this once: ${secret}`);
    print('For 24 hours requests carry the signatures of both secrets.');
  });
}

async function remove(webhookId: string, options: ChangeOptions): Promise<void> {
  await withApi(options, async ({ flux }) => {
    const deleted = successOf(await flux.api.deleteWebhook({ webhookId, ...asked(options) }));
    if (options.json) return printJson(deleted);
    print(`Webhook ${webhookId} is gone; nothing more is told to ${deleted.url}.`);
  });
}

async function deliveries(
  webhookId: string,
  options: ApiOptions & { status?: WebhookDeliveryStatus; first: number },
): Promise<void> {
  await withApi(options, async ({ flux }) => {
    const { status = null, first } = options;
    const page = await flux.api.webhookDeliveries({ webhookId, status, first });
    const all = page.edges.map(({ node }) => node);
    if (options.json) return printJson(all);
    printTable(
      ['delivery', 'type', 'run', 'status', 'attempts', 'last answer'],
      all.map((one) => [one.deliveryId, one.type, one.runId, one.status, String(one.attempts), answerOf(one)]),
    );
  });
}

function answerOf({ lastStatus, lastError }: Delivery): string {
  return lastError ?? (lastStatus === null || lastStatus === undefined ? '' : String(lastStatus));
}

async function replay(deliveryId: string, options: ChangeOptions): Promise<void> {
  await withApi(options, async ({ flux }) => {
    const delivery = successOf(await flux.api.replayWebhookDelivery({ deliveryId, ...asked(options) }));
    if (options.json) return printJson(delivery);
    print(`Delivery ${delivery.deliveryId} is ${delivery.status}; it is sent at ${delivery.dueAt ?? 'once'}.`);
  });
}

function count(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= 200) return value;
  throw new InvalidArgumentError('It should be 1 to 200.');
}
