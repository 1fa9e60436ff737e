import { open } from 'node:fs/promises';

import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';

import { FluxError } from '../errors.ts';

/** Where a store's bucket is and how it is entered. */
export interface BucketOptions {
  bucket: string;
  /** Before every key: empty, or ending in a slash. */
  prefix: string;
  region: string;
  /** Of a server that speaks S3; absent: AWS's own for the region. */
  endpoint?: string;
  /** Absent: what the machine gives (a web identity, an instance's role, AWS's own variables). */
  credentials?: { accessKeyId: string; secretAccessKey: string };
  /** Of an upload's parts; the store's minimum is 5 MiB. */
  partBytes?: number;
}

export interface BucketObject {
  byteCount: number;
  etag: string;
  modifiedAt: Date;
}

/**
 * The platform's own bucket, as a store of objects uses it. Requests are repeated by the SDK up to four times.
 *
 * Every method throws UNAVAILABLE where the bucket does not answer, or refuses.
 */
export interface Bucket {
  find(key: string): Promise<BucketObject | null>;
  /**
   * Sends a file. Where `replace` is false the bucket itself sees to it that nothing is written over (If-None-Match): of several writers
   * one writes.
   *
   * @returns whether it was written
   */
  send(key: string, file: { path: string; byteCount: number }, options: { replace: boolean }): Promise<boolean>;
  put(key: string, bytes: Uint8Array): Promise<void>;
  /** The bytes from a place on, of exactly that version. @throws also whatever breaks off on the way */
  read(key: string, version: { etag: string; from: number; to?: number }): Promise<AsyncIterable<Uint8Array>>;
  remove(key: string): Promise<void>;
  keys(prefix: string): AsyncIterable<string>;
}

/** One request for what is smaller; a part each for what is larger, so that no more than one part is in memory. */
const partBytesDefault = 16 * 2 ** 20;
/** S3 takes ten thousand. */
const partsMax = 9_000;

export function openBucket({ partBytes = partBytesDefault, ...options }: BucketOptions): Bucket {
  const client = new S3Client({
    region: options.region,
    ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint, forcePathStyle: true }),
    ...(options.credentials ? { credentials: options.credentials } : {}),
    maxAttempts: 4,
    // What the SDK adds by itself since 3.729 many other stores do not understand; the signature covers each part's SHA-256.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: { connectionTimeout: 10_000, requestTimeout: 60_000 },
  });
  const place = (key: string) => ({ Bucket: options.bucket, Key: `${options.prefix}${key}` });
  const guarded = async <T>(key: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (cause) {
      throw cause instanceof FluxError || isSystemError(cause) ? cause : unavailable(options.bucket, key, cause);
    }
  };
  /** @returns false where something stands there already */
  const unlessThere = async (work: () => Promise<unknown>): Promise<boolean> => {
    try {
      await work();
      return true;
    } catch (cause) {
      if (statusOf(cause) === 412) return false;
      throw cause;
    }
  };

  return {
    find: (key) =>
      guarded(key, async () => {
        try {
          const found = await client.send(new HeadObjectCommand(place(key)));
          return {
            byteCount: found.ContentLength ?? 0,
            etag: found.ETag ?? '',
            modifiedAt: found.LastModified ?? new Date(0),
          };
        } catch (cause) {
          if (statusOf(cause) === 404) return null;
          throw cause;
        }
      }),
    send: (key, file, { replace }) =>
      guarded(key, () =>
        unlessThere(() =>
          sendParts(client, { ...place(key), ...(replace ? {} : { IfNoneMatch: '*' }) }, file, {
            partBytes: Math.max(partBytes, Math.ceil(file.byteCount / partsMax)),
          }),
        ),
      ),
    put: (key, bytes) =>
      guarded(key, async () => {
        await client.send(new PutObjectCommand({ ...place(key), Body: bytes }));
      }),
    read: (key, { etag, from, to }) =>
      guarded(key, async () => {
        const Range = `bytes=${String(from)}-${to === undefined ? '' : String(to - 1)}`;
        const { Body, ETag } = await client.send(new GetObjectCommand({ ...place(key), IfMatch: etag, Range }));
        // Not every server that speaks S3 looks at the condition.
        if (ETag !== etag)
          throw Object.assign(new Error('it changed while it was read'), { name: 'PreconditionFailed' });
        // In Node the SDK gives the answer as a stream of its own.
        return Body as unknown as AsyncIterable<Uint8Array>;
      }),
    remove: (key) =>
      guarded(key, async () => {
        await client.send(new DeleteObjectCommand(place(key)));
      }),
    async *keys(prefix) {
      let token: string | undefined;
      do {
        const page = await guarded(prefix, () =>
          client.send(
            new ListObjectsV2Command({
              Bucket: options.bucket,
              Prefix: `${options.prefix}${prefix}`,
              ...(token === undefined ? {} : { ContinuationToken: token }),
            }),
          ),
        );
        for (const { Key: key } of page.Contents ?? []) if (key) yield key.slice(options.prefix.length);
        token = page.NextContinuationToken;
      } while (token !== undefined);
    },
  };
}

interface Target {
  Bucket: string;
  Key: string;
  IfNoneMatch?: string;
}

async function sendParts(
  client: S3Client,
  target: Target,
  { path, byteCount }: { path: string; byteCount: number },
  { partBytes }: { partBytes: number },
): Promise<void> {
  const file = await open(path, 'r');
  try {
    const part = async (from: number): Promise<Buffer> => {
      const bytes = Buffer.alloc(Math.min(partBytes, byteCount - from));
      for (let read = 0; read < bytes.length;) {
        const { bytesRead } = await file.read(bytes, read, bytes.length - read, from + read);
        if (bytesRead === 0) throw new Error(`${path} ends before its ${String(byteCount)} bytes`);
        read += bytesRead;
      }
      return bytes;
    };
    if (byteCount <= partBytes) {
      await client.send(new PutObjectCommand({ ...target, Body: await part(0) }));
      return;
    }
    const { IfNoneMatch: _atTheEnd, ...place } = target;
    const { UploadId } = await client.send(new CreateMultipartUploadCommand(place));
    try {
      const Parts: { ETag?: string; PartNumber: number }[] = [];
      for (let from = 0; from < byteCount; from += partBytes) {
        const PartNumber = Parts.length + 1;
        const { ETag } = await client.send(
          new UploadPartCommand({ ...place, UploadId, PartNumber, Body: await part(from) }),
        );
        Parts.push({ PartNumber, ...(ETag === undefined ? {} : { ETag }) });
      }
      await client.send(new CompleteMultipartUploadCommand({ ...target, UploadId, MultipartUpload: { Parts } }));
    } catch (cause) {
      // Parts without an end are paid for until somebody removes them.
      await client.send(new AbortMultipartUploadCommand({ ...place, UploadId })).catch(() => undefined);
      throw cause;
    }
  } finally {
    await file.close();
  }
}

function statusOf(cause: unknown): number | undefined {
  return (cause as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;
}

/** Of this machine's files, and not of the network: their own names say more. */
function isSystemError(cause: unknown): boolean {
  return (cause as { syscall?: unknown }).syscall !== undefined && (cause as { path?: unknown }).path !== undefined;
}

function unavailable(bucket: string, key: string, cause: unknown): FluxError {
  const { name, code } = cause as { name?: string; code?: string };
  const status = statusOf(cause);
  const what = [name === 'Error' ? undefined : name, code, status].filter((part) => part !== undefined).join(', ');
  const advice =
    status === 401 || status === 403
      ? 'Its credentials may not do this: they need to get, put, delete and list.'
      : status === 404
        ? 'The bucket does not exist. Check FLUX_OBJECT_STORE.'
        : status === 501
          ? 'It does not write on conditions (If-None-Match), which Flux needs.'
          : 'Flux tries again.';
  return new FluxError('UNAVAILABLE', `The object store's bucket "${bucket}" refused "${key}" (${what}). ${advice}`, {
    cause,
  });
}
