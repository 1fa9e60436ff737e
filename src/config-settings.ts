import { readFileSync } from 'node:fs';

import { z } from 'zod';

import { parseKey, parsePublicKey } from './config-keys.ts';

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
  'FLUX_OBJECT_STORE_KEY',
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

/** Every name of the environment that means something, with its rule. */
export const settings = z.object({
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
    .regex(/^(file:.|s3:\/\/.)/, 'should be file:<folder> or s3://<bucket>/<prefix>?region=<region>')
    .optional(),
  FLUX_OBJECT_STORE_KEY_ID: z.string().optional(),
  FLUX_OBJECT_STORE_KEY: z.string().optional(),
  FLUX_OBJECT_CACHE_BYTES: z.coerce
    .number({ error: 'should be a number of bytes, from 1048576 on' })
    .int()
    .min(2 ** 20)
    .max(2 ** 50)
    .default(20 * 2 ** 30),
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
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .url({ protocol: /^https?$/, error: 'should be the address of an OTLP collector, http(s)://host:4318' })
    .optional(),
  OTEL_TRACES_SAMPLER_ARG: z.coerce
    .number({ error: 'should be the part of traces to keep, 0 to 1' })
    .min(0)
    .max(1)
    .default(1),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
});
export type Settings = z.infer<typeof settings>;

/**
 * The values of an environment, those in files included; an empty one counts as absent.
 *
 * @returns beside them what could not be read, as sentences
 */
export function withSecretFiles(env: NodeJS.ProcessEnv): { values: Record<string, string>; unread: string[] } {
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

/** Sentences on names that look like ours and are not. */
export function unknownNames(env: NodeJS.ProcessEnv): string[] {
  const known = new Set([...Object.keys(settings.shape), ...secretNames.map((name) => `${name}_FILE`)]);
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
