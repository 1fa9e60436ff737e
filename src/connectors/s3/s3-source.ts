import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';

import { GetObjectCommand, type GetObjectCommandOutput, S3Client } from '@aws-sdk/client-s3';

import { FluxError } from '../../errors.ts';
import { guardedLookup, plainHost, requireReachable } from '../../network/guarded-lookup.ts';
import { invalidSource, unavailableSource } from '../refusals.ts';
import { type Pause, resumedBytes, tooLarge } from '../resumed-bytes.ts';
import type { SourceConnector, SourceRequest } from '../source.ts';

export interface S3SourceOptions {
  /** Agency -> hosts whose private addresses, and whose plain http, its connections may reach (FLUX_SOURCE_PRIVATE_HOSTS). */
  privateHosts: Readonly<Record<string, readonly string[]>>;
  silenceMs?: number;
  pause?: Pause;
}

const maxBytesDefault = 10 * 2 ** 30;
const silenceMsDefault = 60_000;
const anonymousKey = 'anonymous';

/**
 * Objects of one bucket below the connection's prefix. What was begun is read to its end from that version alone (If-Match, and the
 * version's id where the bucket keeps versions); an object that did not change since it was pinned is not sent again.
 */
export function createS3Source(options: S3SourceOptions): SourceConnector {
  return {
    async open(request) {
      const { config } = request.connection;
      const bucket = String(config['bucket']);
      const key = keyOf(request);
      const origin = `s3://${bucket}/${key}`;
      const byteCountMax = typeof config['maxBytes'] === 'number' ? config['maxBytes'] : maxBytesDefault;
      const client = clientOf(request, options);
      try {
        const known = (await request.known?.(origin)) ?? null;
        const first = await get(client, request, { origin, bucket, key, ...(known ? { unless: known.etag } : {}) });
        if (first === null) {
          client.destroy();
          return { origin, unchanged: true };
        }
        const { ETag: etag, VersionId: version, ContentLength: byteCount, LastModified: modifiedAt } = first;
        if (byteCount !== undefined && byteCount > byteCountMax) throw tooLarge(origin, byteCountMax);
        const resume = async (from: number): Promise<AsyncIterable<Uint8Array>> => {
          const answer = await get(client, request, {
            origin,
            bucket,
            key,
            from,
            ...(etag ? { etag } : {}),
            ...(version ? { version } : {}),
          });
          return bodyOf(answer as GetObjectCommandOutput);
        };
        const bytes = resumedBytes(
          { origin, first: bodyOf(first), byteCount: byteCount ?? null, resume: etag === undefined ? null : resume },
          { byteCountMax, signal: request.signal, ...(options.pause ? { pause: options.pause } : {}) },
        );
        return {
          origin,
          modifiedAt: modifiedAt ?? null,
          etag: etag ?? null,
          bytes: withEnd(bytes, () => client.destroy()),
        };
      } catch (cause) {
        client.destroy();
        throw cause;
      }
    },
  };
}

interface Asked {
  origin: string;
  bucket: string;
  key: string;
  from?: number;
  /** The version that must still be there. */
  etag?: string;
  version?: string;
  /** The version that need not be sent again. */
  unless?: string;
}

/** @returns null where the object is the one that need not be sent */
async function get(
  client: S3Client,
  { connection, signal }: SourceRequest,
  asked: Asked,
): Promise<GetObjectCommandOutput | null> {
  const { origin, bucket, key, from, etag, version, unless } = asked;
  try {
    return await client.send(
      new GetObjectCommand({
        Bucket: bucket,
        Key: key,
        ...(from === undefined ? {} : { Range: `bytes=${String(from)}-` }),
        ...(etag === undefined ? {} : { IfMatch: etag }),
        ...(version === undefined ? {} : { VersionId: version }),
        ...(unless === undefined ? {} : { IfNoneMatch: unless }),
      }),
      { abortSignal: signal },
    );
  } catch (cause) {
    signal.throwIfAborted();
    if (statusOf(cause) === 304 && unless !== undefined) return null;
    throw failureOf(cause, origin, connection.name);
  }
}

function failureOf(cause: unknown, origin: string, connection: string): FluxError {
  if (cause instanceof FluxError) return cause;
  const { name, code } = cause as { name?: string; code?: string };
  const status = statusOf(cause);
  if (code === 'ADDRESS_REFUSED') {
    return invalidSource(
      `${origin} must not be reached: ${(cause as Error).message}. If it should be, the operator allows the host (FLUX_SOURCE_PRIVATE_HOSTS).`,
      cause,
    );
  }
  if (status === 412)
    return unavailableSource(`${origin} changed while it was read. Flux tries again from the beginning.`, cause);
  if (status === 404)
    return invalidSource(`${origin} does not exist (${String(name)}). Check source.path and the bucket.`, cause);
  if (status === 401 || status === 403) {
    return invalidSource(
      `${origin} may not be read (${String(name)}). Give connection "${connection}" a secret that may.`,
      cause,
    );
  }
  if (status !== undefined && status < 500 && status !== 408 && status !== 429) {
    return invalidSource(`${origin} cannot be read (${String(name)}, ${String(status)}). Check the connection.`, cause);
  }
  return unavailableSource(`${origin} does not answer (${String(name ?? code)}). Flux tries again.`, cause);
}

function statusOf(cause: unknown): number | undefined {
  return (cause as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;
}

function bodyOf({ Body: body }: GetObjectCommandOutput): AsyncIterable<Uint8Array> {
  // In Node the SDK gives the answer as a stream of its own.
  return body as unknown as AsyncIterable<Uint8Array>;
}

/** Credentials are the connection's own and never the process's: with those an agency would read what the platform may. */
function clientOf({ agency, connection }: SourceRequest, options: S3SourceOptions): S3Client {
  const { config, secret } = connection;
  const privateHosts = options.privateHosts[agency] ?? [];
  const endpoint = typeof config['endpoint'] === 'string' ? config['endpoint'] : undefined;
  if (endpoint !== undefined) requireEndpoint(endpoint, connection.name, privateHosts);
  const anonymous = config['anonymous'] === true;
  if (!anonymous && typeof secret?.['accessKeyId'] !== 'string') {
    throw invalidSource(
      `Connection "${connection.name}" has no secret. Register it with one, or with config.anonymous for public buckets.`,
    );
  }
  const lookup = guardedLookup(privateHosts);
  return new S3Client({
    region: String(config['region']),
    ...(endpoint === undefined ? {} : { endpoint, forcePathStyle: config['pathStyle'] !== false }),
    credentials: anonymous
      ? { accessKeyId: anonymousKey, secretAccessKey: anonymousKey }
      : {
          accessKeyId: String(secret?.['accessKeyId']),
          secretAccessKey: String(secret?.['secretAccessKey']),
          ...(typeof secret?.['sessionToken'] === 'string' ? { sessionToken: secret['sessionToken'] } : {}),
        },
    ...(anonymous ? { signer: { sign: (unsigned) => Promise.resolve(unsigned) } } : {}),
    maxAttempts: 4,
    // What the SDK adds by itself since 3.729 many other stores do not understand.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // No file or variable of the machine decides anything.
    defaultsMode: 'standard',
    useArnRegion: false,
    disableMultiregionAccessPoints: true,
    requestHandler: {
      httpAgent: new HttpAgent({ keepAlive: true, lookup }),
      httpsAgent: new HttpsAgent({ keepAlive: true, lookup }),
      connectionTimeout: 10_000,
      requestTimeout: options.silenceMs ?? silenceMsDefault,
    },
  });
}

function requireEndpoint(endpoint: string, connection: string, privateHosts: readonly string[]): void {
  const { protocol, hostname } = new URL(endpoint);
  const host = plainHost(hostname);
  if (protocol !== 'https:' && !privateHosts.includes(host)) {
    throw invalidSource(
      `The endpoint of connection "${connection}" is no https address. Plain http is for hosts that the operator allows (FLUX_SOURCE_PRIVATE_HOSTS).`,
    );
  }
  try {
    requireReachable(host, privateHosts);
  } catch (cause) {
    throw invalidSource(
      `The endpoint of connection "${connection}" must not be reached: ${(cause as Error).message}. If it should be, the operator allows the host (FLUX_SOURCE_PRIVATE_HOSTS).`,
      cause,
    );
  }
}

function keyOf({ connection: { name, config }, source: { path } }: SourceRequest): string {
  // To S3 a key is a text; a server that keeps objects as files may take it for a path, which leads out of the prefix.
  if (path.split('/').some((part) => part === '..' || part === '.')) {
    throw invalidSource(
      `"${path}" climbs, and a key of connection "${name}" must not. Write it without "." and ".." parts.`,
    );
  }
  const prefix = typeof config['prefix'] === 'string' ? config['prefix'] : '';
  const key = `${prefix}${path}`;
  if (Buffer.byteLength(key) > 1_024)
    throw invalidSource(`The key of "${path}" in connection "${name}" is longer than S3 allows (1024 bytes).`);
  return key;
}

async function* withEnd(
  bytes: AsyncIterable<Uint8Array>,
  end: () => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* bytes;
  } finally {
    end();
  }
}
