import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { z } from 'zod';

import { developmentKey, parseKey, parsePublicKey } from './config-keys.ts';
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

export interface Config {
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
  objectStoreFolder: string;
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

/** Values that may be secret come from a file too: `<NAME>_FILE` holds its path. */
const secretNames = [
  'DATABASE_URL',
  'FLUX_API_DATABASE_URL',
  'FLUX_WORKER_DATABASE_URL',
  'FLUX_SEALER_DATABASE_URL',
  'REDIS_URL',
  'FLUX_CONTEXT_KEY',
  'FLUX_DATA_KEY',
  'FLUX_DATA_KEY_PREVIOUS',
  'FLUX_KMS_TOKEN',
  'FLUX_SALT_KEY',
  'FLUX_LINKAGE_SALTS',
  'FLUX_AUDIT_KEY',
  'FLUX_TOKEN',
] as const;

const databaseUrl = z
  .url({ protocol: /^postgres(ql)?$/, error: 'should be postgres://user:password@host:port/database' })
  .optional();
const port = z.coerce.number({ error: 'should be a port, 0 to 65535' }).int().min(0).max(65_535);
const slug = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{1,62}[a-z0-9]$/, 'should be an agency slug such as national-archives');

/** A named salt, and the agencies that may use it. */
const linkageSalt = z.strictObject({ agencies: z.array(slug).min(1), salt: key() });

const issuer = z.strictObject({
  issuer: z.string().min(1),
  jwksUri: z.url().optional(),
  jwks: z.object({ keys: z.array(z.record(z.string(), z.unknown())).min(1) }).optional(),
  audience: z.string().min(1).optional(),
  agencies: z.array(slug).min(1),
});

const signInProvider = z.strictObject({
  issuer: z.url({ protocol: /^https?$/ }),
  clientId: z.string().min(1),
  title: z.string().min(1).optional(),
  scope: z.string().min(1).optional(),
});

const schema = z.object({
  NODE_ENV: z.string().optional(),
  DATABASE_URL: databaseUrl,
  FLUX_API_DATABASE_URL: databaseUrl,
  FLUX_WORKER_DATABASE_URL: databaseUrl,
  FLUX_SEALER_DATABASE_URL: databaseUrl,
  REDIS_URL: z
    .url({ protocol: /^rediss?$/, error: 'should be rediss://user:password@host:port, or redis:// without TLS' })
    .optional(),
  FLUX_FIPS: z.enum(['0', '1'], { error: 'should be 1 (FIPS mode) or 0' }).default('0'),
  FLUX_HOME: z.string().default('.flux'),
  FLUX_HOST: z.string().default('127.0.0.1'),
  FLUX_PORT: port.default(4000),
  FLUX_METRICS_PORT: port.optional(),
  FLUX_TLS_CERT: z.string().optional(),
  FLUX_TLS_KEY: z.string().optional(),
  FLUX_PLAIN_DATABASE: z.enum(['allow', 'refuse'], { error: 'should be allow or refuse' }).default('refuse'),
  FLUX_WORKERS: z.coerce.number({ error: 'should be a number of processes, 0 to 64' }).int().min(0).max(64).default(2),
  FLUX_QUANTUM: z.coerce
    .number({ error: 'should be a number of batches, 1 to 10000' })
    .int()
    .min(1)
    .max(10_000)
    .default(10),
  FLUX_ISSUERS: json(z.array(issuer)).optional(),
  FLUX_AUDIENCE: z.string().default('flux'),
  FLUX_SIGN_IN: json(z.array(signInProvider)).default([]),
  FLUX_CONTEXT_KEY: key().optional(),
  FLUX_DATA_KEY: key().optional(),
  FLUX_DATA_KEY_PREVIOUS: keys().default([]),
  FLUX_KMS_URL: z
    .url({ protocol: /^https$/, error: 'should be the https address of a key management service' })
    .optional(),
  FLUX_KMS_KEY: z
    .string()
    .regex(/^[\w./-]{1,200}$/, 'should be the name of a key: letters, digits, and any of _ . / -')
    .optional(),
  FLUX_KMS_TOKEN: z.string().optional(),
  FLUX_KMS_CA: z.string().optional(),
  FLUX_SALT_KEY: key().optional(),
  FLUX_LINKAGE_SALTS: json(z.record(slug, linkageSalt)).default({}),
  FLUX_ENCRYPTION: z.enum(['on', 'off'], { error: 'should be on or off' }).default('on'),
  FLUX_AUDIT_KEY: key().optional(),
  FLUX_AUDIT_ALGORITHM: z.enum(['ed25519', 'ecdsa-p256'], { error: 'should be ed25519 or ecdsa-p256' }).optional(),
  FLUX_AUDIT_PUBLIC_KEY: publicKeys().default([]),
  FLUX_AUDIT_ANCHOR: z.string().optional(),
  FLUX_OBJECT_STORE: z
    .string()
    .regex(/^file:./, 'should be file:<folder>; other stores are not offered yet')
    .optional(),
  FLUX_SOURCE_ROOTS: json(z.record(slug, z.array(z.string().min(1)))).default({}),
  FLUX_SOURCE_PRIVATE_HOSTS: json(
    z.record(
      slug,
      z.array(z.string().regex(/^[a-z0-9][a-z0-9.:-]*$/, 'should be a host in lower case, without a port')),
    ),
  ).default({}),
  FLUX_UPLOAD_BYTES_MAX: z.coerce
    .number({ error: 'should be a number of bytes, 1 to 1099511627776' })
    .int()
    .min(1)
    .max(2 ** 40)
    .default(10 * 2 ** 30),
  FLUX_WEBHOOK_PRIVATE_HOSTS: z
    .string()
    .regex(/^[a-z0-9.:-]+(,[a-z0-9.:-]+)*$/, 'should be hosts in lower case, separated by commas')
    .optional(),
  FLUX_TRUSTED_DOCUMENTS: z.enum(['off', 'log', 'enforce']).default('off'),
  FLUX_TRUSTED_DOCUMENTS_MANIFEST: z.string().optional(),
  FLUX_URL: z.url({ protocol: /^https?$/, error: 'should be the API\u2019s address, http://host:port' }).optional(),
  FLUX_TOKEN: z.string().optional(),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
});
type Values = z.infer<typeof schema>;

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
  const parsed = schema.safeParse(given);
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

function withSecretFiles(env: NodeJS.ProcessEnv): { values: Record<string, string>; unread: string[] } {
  const values = Object.fromEntries(
    Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== ''),
  );
  const unread: string[] = [];
  for (const name of secretNames) {
    const file = values[`${name}_FILE`];
    if (file === undefined) continue;
    if (values[name] !== undefined) unread.push(`${name} and ${name}_FILE are both set; keep one`);
    try {
      values[name] = readFileSync(file, 'utf8').trim();
    } catch (cause) {
      unread.push(
        `${name}_FILE names ${file}, which cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'error'})`,
      );
    }
  }
  return { values, unread };
}

function productionProblems(values: Values): string[] {
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

function toConfig(values: Values, warnings: string[]): Config {
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
    objectStoreFolder: values.FLUX_OBJECT_STORE ? storeFolder(values.FLUX_OBJECT_STORE) : homePaths(home).objects,
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

function storeFolder(url: string): string {
  return url.startsWith('file://') ? fileURLToPath(url) : path.resolve(url.slice('file:'.length));
}

function unknownNames(env: NodeJS.ProcessEnv): string[] {
  const known = new Set([...Object.keys(schema.shape), ...secretNames.map((name) => `${name}_FILE`)]);
  return Object.keys(env)
    .filter((name) => name.startsWith('FLUX_') && !known.has(name))
    .map((name) => `${name} is no setting of Flux and has no effect`);
}

function key() {
  return z.string().transform((text, context) => {
    const bytes = parseKey(text);
    if (bytes) return bytes;
    context.addIssue('should be 32 bytes in hex (64 characters) or base64 (44); make one with: openssl rand -hex 32');
    return z.NEVER;
  });
}

function keys() {
  return z.string().transform((text, context) => {
    const all = text
      .split(/[\s,]+/)
      .filter((one) => one !== '')
      .map(parseKey);
    if (all.every((one) => one !== undefined)) return all;
    context.addIssue('should be keys of 32 bytes, in hex or base64, with commas between them');
    return z.NEVER;
  });
}

function publicKeys() {
  return z.string().transform((text, context) => {
    const all = text
      .split(/[\s,]+/)
      .filter((one) => one !== '')
      .map(parsePublicKey);
    if (all.every((one) => one !== undefined)) return all;
    context.addIssue(
      'should be public keys with commas between them: of Ed25519 (32 bytes) or P-256 (SubjectPublicKeyInfo, 91 bytes), in hex or base64',
    );
    return z.NEVER;
  });
}

function json<T extends z.ZodType>(inner: T) {
  return z
    .string()
    .transform((text, context): unknown => {
      try {
        return JSON.parse(text) as unknown;
      } catch {
        context.addIssue('should be JSON and is not');
        return z.NEVER;
      }
    })
    .pipe(inner);
}
