/** What delivers webhooks, in a process of its own, for tests that kill it: `node webhook-sender.ts <configuration as JSON>`. */
import { startWebhooks } from '../../src/worker/webhooks.ts';
import { webhookDataKey, webhookKeys, webhookPolicy } from './webhook-policy.ts';

const { databaseUrl, contextKey, timeoutMs } = JSON.parse(process.argv[2] as string) as {
  databaseUrl: string;
  /** In hexadecimal digits. */
  contextKey: string;
  /** How long a receiver may take; what is held by a sender that is gone is free after twice as long. */
  timeoutMs: number;
};
startWebhooks({
  databaseUrl,
  contextKey: Buffer.from(contextKey, 'hex'),
  keys: webhookKeys,
  dataKeys: [webhookDataKey],
  policy: webhookPolicy,
  log: { info: () => undefined, warn: () => undefined },
  times: { everyMs: 50, timeoutMs },
});
