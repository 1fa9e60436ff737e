/**
 * What the services make of the settings: policies, keys and trust that several of them share, none of which opens anything.
 */
import { existsSync } from 'node:fs';

import type { Config } from './config.ts';
import type { ConfiguredTrust } from './domain/revocations.ts';
import type { WebhookPolicy } from './domain/webhook-address.ts';
import { chooseKeyEncryption } from './keys/choose-key-encryption.ts';
import { createKeyRing, type KeyRing } from './keys/key-ring.ts';

/** In development a receiver may be a program on this machine. */
export function webhookPolicyOf({ environment, webhookPrivateHosts }: Config): WebhookPolicy {
  const development = environment === 'development';
  const own = development ? ['localhost', '127.0.0.1', '::1'] : [];
  return { allowHttp: development, privateHosts: [...own, ...webhookPrivateHosts] };
}

/** The data keys that a process may unwrap are those that its database login shows it. */
export function keyRingOf(config: Config): KeyRing {
  return createKeyRing(chooseKeyEncryption(config), { seals: config.encryption });
}

export function dataKeysOf({ dataKey, dataKeysBefore }: Config): readonly Buffer[] {
  return [dataKey, ...dataKeysBefore];
}

/** Clients may send ids in every mode; with `off`, where any text is executed, there may also be no manifest. @throws CONFIG_INVALID */
export async function trustedDocuments({ trustedDocumentsMode: mode, trustedDocumentsManifest: file }: Config) {
  if (mode === 'off' && !existsSync(file)) return {};
  const { readManifest } = await import('./server/trusted-documents.ts');
  return { trustedDocuments: { mode, manifest: readManifest(file) } };
}

/** Development's own issuer speaks for every agency. */
export function configuredTrust({ environment, issuers }: Config, localIssuerName: string): ConfiguredTrust {
  return (name, agency) =>
    (environment === 'development' && name === localIssuerName) ||
    issuers.some(({ issuer, agencies }) => issuer === name && agencies.includes(agency));
}

/** What the API verifies with. In production it is told; the private key stays with the sealer. */
export function auditPublicKeys(
  config: Config,
  publicKeyOf: (secret: Buffer, algorithm: Config['auditAlgorithm']) => Buffer,
): readonly Buffer[] {
  const { environment, auditPublicKeys: given, auditAlgorithm } = config;
  return given.length === 0 && environment === 'development' ? [publicKeyOf(config.auditKey, auditAlgorithm)] : given;
}
