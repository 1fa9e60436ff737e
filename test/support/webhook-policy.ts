import { ensureKeys } from '../../src/domain/manage-keys.ts';
import { localKeyEncryption } from '../../src/keys/key-encryption.ts';
import { createKeyRing } from '../../src/keys/key-ring.ts';
import type { TestDatabase } from './database.ts';

/** What webhooks of a served API may reach, and the key of their secrets. */
export const webhookPolicy = { allowHttp: true, privateHosts: ['127.0.0.1', 'localhost'] };
export const webhookDataKey = Buffer.alloc(32, 7);
export const webhookKeys = createKeyRing(localKeyEncryption(webhookDataKey), { seals: false, cacheMs: 0 });

/** What the API needs for webhooks. */
export const webhookDeps = {
  webhooks: { policy: webhookPolicy, dataKeys: () => [webhookDataKey] },
  keys: webhookKeys,
};

/** Gives the agencies that there are the data keys that their webhooks' secrets need. */
export async function ensureWebhookKeys({ adminUrl, contextKey }: TestDatabase): Promise<void> {
  await ensureKeys({ adminUrl, contextKey, actor: 'operator:test', encryption: localKeyEncryption(webhookDataKey) });
}
