import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { developmentKey } from './config-keys.ts';
import { objectStoreOf, objectStoreProblems, type ObjectStoreSettings } from './config-object-store.ts';
import { type Settings, settings, unknownNames, withSecretFiles } from './config-settings.ts';
import { plainConnections } from './config-transport.ts';
import { type SaltOf, saltsOf } from './salts.ts';
import { fipsProblem } from './crypto/fips.ts';
import { FluxError } from './errors.ts';
import { homePaths } from './home.ts';

/** A trusted issuer of tokens, and the agencies for which it may speak. */
export interface IssuerConfig {
  /** The exact `iss` of its tokens. */
  issuer: string;
  /** Where its keys are, https outside development; or the keys themselves. */
  jwksUri?: string;
  jwks?: { keys: Record<string, unknown>[] };
  /** The `aud` that its tokens must carry; FLUX_AUDIENCE of all issuers otherwise. */
  audience?: string;
  /** Slugs. An issuer that is not bound to an agency cannot speak for it. */
  agencies: readonly string[];
}

/** An identity provider that the dashboard signs people in with; its tokens are trusted through `issuers` or the registry. */
export interface SignInProviderConfig {
  issuer: string;
  clientId: string;
  title?: string;
  scope?: string;
}

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent';

export interface Config extends ObjectStoreSettings {
  environment: 'development' | 'production';
  /** The admin's URL; undefined means the embedded Postgres of `home`. */
  databaseUrl?: string;
  apiDatabaseUrl?: string;
  workerDatabaseUrl?: string;
  sealerDatabaseUrl?: string;
  /** Where hints travel; over the database if absent. */
  redisUrl?: string;
  /** FLUX_HOME, absolute. */
  home: string;
  host: string;
  /** 0 lets the system choose. */
  port: number;
  metricsPort: number;
  /** FLUX_METRICS_PORT was given: a taken port is then an error, and otherwise replaced by a free one. */
  metricsPortFixed: boolean;
  /** Worker processes of `flux up`. */
  workers: number;
  /** Batches after which a partition gives its turn up if others wait. */
  quantumBatches: number;
  /** PEM files of the API's certificate and key; absent: plain http. */
  tls?: { cert: string; key: string };
  issuers: readonly IssuerConfig[];
  /** FLUX_ISSUERS was given, be it as an empty list: then all are registered in the database. */
  issuersGiven: boolean;
  audience: string;
  /** Where people of the dashboard sign in. */
  signIn: readonly SignInProviderConfig[];
  /** 32 bytes: seals tenant contexts and derives the logins' passwords. Read it only where it is needed: see loadConfig. */
  contextKey: Buffer;
  /** 32 bytes: wraps the agencies' data keys, and keys the addresses of plain objects. */
  dataKey: Buffer;
  /** Older ones, which unwrap until `flux keys rewrap` has gone through. */
  dataKeysBefore: readonly Buffer[];
  /** A key management service that wraps the data keys instead; without a key's name it only unwraps. */
  kms?: { url: string; token: string; keyName?: string; caFile?: string };
  /** The keys that hash identifiers. */
  saltOf: SaltOf;
  /** Whether what runs leave behind is sealed. What is sealed already can be read in any case. */
  encryption: boolean;
  /** 32 bytes, the private key that signs the audit log: for the sealer alone. */
  auditKey: Buffer;
  /** What it is a key of; ECDSA in FIPS mode unless said otherwise. */
  auditAlgorithm: 'ed25519' | 'ecdsa-p256';
  /**
   * What the audit log is verified with where its key is not: keys of Ed25519 (32 bytes) or ECDSA (SubjectPublicKeyInfo), the present
   * one first, then those that signed before. `flux up` gives the present one to the API.
   */
  auditPublicKeys: readonly Buffer[];
  /** The file outside the database to which every signed checkpoint of the audit log is appended. */
  auditAnchor: string;
  /** Agency to the folders from which its file connections may read. */
  sourceRoots: Readonly<Record<string, readonly string[]>>;
  /** Agency to the hosts whose private addresses, and whose plain http, its connections may reach. */
  sourcePrivateHosts: Readonly<Record<string, readonly string[]>>;
  /** Bytes of the largest upload. */
  uploadBytesMax: number;
  /** Hosts to whose private addresses webhooks may lead. */
  webhookPrivateHosts: readonly string[];
  /** Whether only documents of the manifest are executed, others are told of, or all are taken. */
  trustedDocumentsMode: 'off' | 'log' | 'enforce';
  /** The manifest's file; the SDK's own unless said otherwise. */
  trustedDocumentsManifest: string;
  logLevel: LogLevel;
  /** Where the commands find the API, and the token they bring; undefined means what runs on `home`. */
  clientUrl?: string;
  clientToken?: string;
  /** Names that look like ours and are not, for `flux config check`. */
  warnings: readonly string[];
}

/** What the SDK sends, by id; its build writes it. */
const sdkManifest = fileURLToPath(new URL('../sdk/generated/persisted-documents.json', import.meta.url));

/**
 * Reads the configuration. In development a missing key is generated and kept in FLUX_HOME/keys when it is first read, so
 * that a command which only talks to an API leaves no folder behind.
 *
 * @param env an empty value counts as absent
 * @throws CONFIG_INVALID with every problem at once
 */
export function loadConfig(env: NodeJS.ProcessEnv = process.env): Config {
  const problems: string[] = [];
  const { values: given, unread } = withSecretFiles(env);
  problems.push(...unread);
  const parsed = settings.safeParse(given);
  if (!parsed.success) {
    problems.push(...parsed.error.issues.map(({ path: at, message }) => `${at.join('.')} ${message}`));
  }
  if (parsed.success) problems.push(...productionProblems(parsed.data));
  if (!parsed.success || problems.length > 0) {
    throw new FluxError(
      'CONFIG_INVALID',
      `The configuration has ${problems.length === 1 ? 'a problem' : 'problems'}: ${problems.join('; ')}.`,
      {
        details: { problems },
      },
    );
  }
  return Object.freeze(toConfig(parsed.data, unknownNames(env)));
}

/**
 * What only a server of the API needs, checked before it starts.
 *
 * @throws CONFIG_INVALID in production without a word on trusted issuers: the local one does not exist there
 */
export function requireIssuers(config: Config): void {
  if (config.environment === 'production' && !config.issuersGiven) {
    throw new FluxError(
      'CONFIG_INVALID',
      'FLUX_ISSUERS is missing; in production it should list the trusted issuers: [{"issuer": …, "jwksUri": …, "agencies": […]}], or be [] when they are registered with flux issuers add.',
    );
  }
}

/** What a child process inherits; here because nobody else reads the environment. */
export function inheritedEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env };
}

function productionProblems(values: Settings): string[] {
  const problems: string[] = [];
  const fips = values.FLUX_FIPS === '1' ? fipsProblem() : undefined;
  if (fips !== undefined) problems.push(fips);
  if (values.FLUX_FIPS === '1' && values.FLUX_AUDIT_ALGORITHM === 'ed25519') {
    problems.push('FLUX_AUDIT_ALGORITHM is ed25519, which FIPS mode has not; set it to ecdsa-p256, or leave it out');
  }
  if ((values.FLUX_KMS_URL === undefined) !== (values.FLUX_KMS_TOKEN === undefined)) {
    problems.push('FLUX_KMS_URL and FLUX_KMS_TOKEN belong together; set both or neither');
  }
  if (values.FLUX_KMS_KEY !== undefined && values.FLUX_KMS_URL === undefined) {
    problems.push('FLUX_KMS_KEY names a key of FLUX_KMS_URL, which is missing');
  }
  if ((values.FLUX_TLS_CERT === undefined) !== (values.FLUX_TLS_KEY === undefined)) {
    problems.push('FLUX_TLS_CERT and FLUX_TLS_KEY belong together; set both or neither');
  }
  problems.push(...objectStoreProblems(values));
  if (values.NODE_ENV === 'production') {
    for (const name of ['FLUX_CONTEXT_KEY', 'FLUX_DATA_KEY'] as const) {
      if (!values[name]) problems.push(`${name} is missing; make one with: openssl rand -hex 32`);
    }
    if (values.FLUX_PLAIN_DATABASE !== 'allow') problems.push(...plainConnections(values));
  }
  values.FLUX_SIGN_IN.forEach(({ issuer: name }, i) => {
    if (values.NODE_ENV === 'production' && !name.startsWith('https:')) {
      problems.push(`FLUX_SIGN_IN.${String(i)}.issuer should be https in production`);
    }
  });
  (values.FLUX_ISSUERS ?? []).forEach(({ issuer: name, jwksUri, jwks }, i) => {
    if ((jwksUri === undefined) === (jwks === undefined)) {
      problems.push(`FLUX_ISSUERS.${String(i)} (${name}) should have either jwksUri or jwks`);
    }
    if (jwksUri !== undefined && values.NODE_ENV === 'production' && !jwksUri.startsWith('https:')) {
      problems.push(`FLUX_ISSUERS.${String(i)}.jwksUri should be https in production`);
    }
  });
  return problems;
}

function toConfig(values: Settings, warnings: string[]): Config {
  const home = path.resolve(values.FLUX_HOME);
  const keys = homePaths(home).keys;
  return {
    environment: values.NODE_ENV === 'production' ? 'production' : 'development',
    ...present('databaseUrl', values.DATABASE_URL),
    ...present('apiDatabaseUrl', values.FLUX_API_DATABASE_URL),
    ...present('workerDatabaseUrl', values.FLUX_WORKER_DATABASE_URL),
    ...present('sealerDatabaseUrl', values.FLUX_SEALER_DATABASE_URL),
    ...present('redisUrl', values.REDIS_URL),
    home,
    host: values.FLUX_HOST,
    ...(values.FLUX_TLS_CERT !== undefined && values.FLUX_TLS_KEY !== undefined
      ? { tls: { cert: path.resolve(values.FLUX_TLS_CERT), key: path.resolve(values.FLUX_TLS_KEY) } }
      : {}),
    port: values.FLUX_PORT,
    metricsPort: values.FLUX_METRICS_PORT ?? 9464,
    metricsPortFixed: values.FLUX_METRICS_PORT !== undefined,
    workers: values.FLUX_WORKERS,
    quantumBatches: values.FLUX_QUANTUM,
    issuers: (values.FLUX_ISSUERS ?? []) as IssuerConfig[],
    issuersGiven: values.FLUX_ISSUERS !== undefined,
    audience: values.FLUX_AUDIENCE,
    signIn: values.FLUX_SIGN_IN as SignInProviderConfig[],
    get contextKey() {
      return values.FLUX_CONTEXT_KEY ?? developmentKey(home, path.join(keys, 'context-key'));
    },
    get dataKey() {
      return values.FLUX_DATA_KEY ?? developmentKey(home, path.join(keys, 'data-key'));
    },
    dataKeysBefore: values.FLUX_DATA_KEY_PREVIOUS,
    ...(values.FLUX_KMS_URL !== undefined && values.FLUX_KMS_TOKEN !== undefined
      ? {
          kms: {
            url: values.FLUX_KMS_URL,
            token: values.FLUX_KMS_TOKEN,
            ...present('keyName', values.FLUX_KMS_KEY),
            ...(values.FLUX_KMS_CA === undefined ? {} : { caFile: path.resolve(values.FLUX_KMS_CA) }),
          },
        }
      : {}),
    saltOf: saltsOf({
      linkage: values.FLUX_LINKAGE_SALTS,
      root: () => {
        if (values.FLUX_SALT_KEY === undefined && values.NODE_ENV === 'production') return null;
        return values.FLUX_SALT_KEY ?? developmentKey(home, path.join(keys, 'salt-key'));
      },
    }),
    encryption: values.FLUX_ENCRYPTION === 'on',
    get auditKey() {
      if (values.FLUX_AUDIT_KEY === undefined && values.NODE_ENV === 'production') {
        throw new FluxError(
          'CONFIG_INVALID',
          'FLUX_AUDIT_KEY is missing, and the audit log is signed with it; make one with: openssl rand -hex 32',
        );
      }
      return values.FLUX_AUDIT_KEY ?? developmentKey(home, path.join(keys, 'audit-key'));
    },
    auditAlgorithm: values.FLUX_AUDIT_ALGORITHM ?? (values.FLUX_FIPS === '1' ? 'ecdsa-p256' : 'ed25519'),
    auditPublicKeys: values.FLUX_AUDIT_PUBLIC_KEY,
    auditAnchor: path.resolve(values.FLUX_AUDIT_ANCHOR ?? homePaths(home).auditAnchor),
    ...objectStoreOf(values, home),
    sourcePrivateHosts: values.FLUX_SOURCE_PRIVATE_HOSTS,
    uploadBytesMax: values.FLUX_UPLOAD_BYTES_MAX,
    webhookPrivateHosts: values.FLUX_WEBHOOK_PRIVATE_HOSTS?.split(',') ?? [],
    sourceRoots: Object.fromEntries(
      Object.entries(values.FLUX_SOURCE_ROOTS).map(([agency, roots]) => [
        agency,
        roots.map((root) => path.resolve(root)),
      ]),
    ),
    trustedDocumentsMode: values.FLUX_TRUSTED_DOCUMENTS,
    trustedDocumentsManifest: path.resolve(values.FLUX_TRUSTED_DOCUMENTS_MANIFEST ?? sdkManifest),
    logLevel: values.LOG_LEVEL,
    ...present('clientUrl', values.FLUX_URL),
    ...present('clientToken', values.FLUX_TOKEN),
    warnings,
  };
}

function present<Name extends string>(name: Name, value: string | undefined): Partial<Record<Name, string>> {
  return value === undefined ? {} : ({ [name]: value } as Record<Name, string>);
}
