import { readFileSync } from 'node:fs';
import { request } from 'node:https';

import { FluxError } from '../errors.ts';
import { type KeyContext, type KeyEncryption, nameOf } from './key-encryption.ts';

export interface RemoteKeyEncryptionOptions {
  /** Where the service is, https; `/wrap` and `/unwrap` stand below it. */
  url: string;
  /** The service's name of the key that wraps. */
  keyName: string;
  /** Sent as a bearer token. */
  token: string;
  /** File with the certificates that are believed (PEM); the system's own if absent. */
  caFile?: string;
  /** For one request, from connecting to the last byte. */
  timeoutMs?: number;
}

const usualTimeoutMs = 5_000;
const answerBytesMax = 1 << 16;
const prefix = 'kms:';

/** Whether a data key is wrapped by a key of a service, and not by FLUX_DATA_KEY. */
export function isRemoteKeyId(kekId: string): boolean {
  return kekId.startsWith(prefix);
}

/**
 * Key encryption by a service that keeps its key to itself. Two requests, both POST of JSON with a bearer token, bytes in base64:
 *
 *   /wrap     { key, context, plaintext }   -> { ciphertext }
 *   /unwrap   { key, context, ciphertext }  -> { plaintext }
 *
 * `context` is an object of texts that the service must bind to the ciphertext (encryption context, additional authenticated data).
 * 400, 404, 410 and 422 mean that this is not to be unwrapped (another context, a revoked key), 401 and 403 that it refuses us.
 * Nothing that was wrapped is kept before it has been unwrapped once: a service that answers rubbish loses nobody's key.
 */
export function remoteKeyEncryption(options: RemoteKeyEncryptionOptions): KeyEncryption {
  const { keyName } = options;
  const id = `${prefix}${keyName}`;
  const unwrap = async (wrapped: { kekId: string; bytes: Buffer }, context: KeyContext): Promise<Buffer> => {
    const key = wrapped.kekId.slice(prefix.length);
    const ciphertext = wrapped.bytes.toString('base64');
    return field(await ask(options, 'unwrap', context, { key, ciphertext }), 'plaintext', context);
  };
  return {
    id,
    unwrap,
    async wrap(dataKey, context) {
      const plaintext = dataKey.toString('base64');
      const bytes = field(await ask(options, 'wrap', context, { key: keyName, plaintext }), 'ciphertext', context);
      if ((await unwrap({ kekId: id, bytes }, context)).equals(dataKey)) return bytes;
      throw unavailable(`gives back another key than it wrapped, for the ${nameOf(context)}`);
    },
  };
}

async function ask(
  options: RemoteKeyEncryptionOptions,
  operation: 'wrap' | 'unwrap',
  { agency, purpose, version }: KeyContext,
  what: Record<string, string>,
): Promise<unknown> {
  const context = { agency, purpose, version: String(version) };
  const { status, body } = await post(options, operation, JSON.stringify({ ...what, context })).catch(
    (cause: unknown) => {
      throw unavailable(`does not answer (${reasonOf(cause)})`, cause);
    },
  );
  if (status === 200) return parsed(body);
  const name = nameOf({ agency, purpose, version });
  if (status === 401 || status === 403) {
    throw new FluxError(
      'KEY_UNAVAILABLE',
      `The key management service refuses to ${operation} the ${name} (${String(status)}). Check FLUX_KMS_TOKEN, and what it may do there.`,
    );
  }
  if ([400, 404, 410, 422].includes(status)) {
    throw new FluxError(
      'KEY_UNAVAILABLE',
      `The key management service cannot ${operation} the ${name} (${String(status)}): its key ${what['key'] ?? ''} is revoked or another, or what it wrapped was changed.`,
    );
  }
  throw unavailable(`answered ${String(status)}`);
}

function post(
  { url, token, caFile, timeoutMs = usualTimeoutMs }: RemoteKeyEncryptionOptions,
  operation: string,
  body: string,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const at = new URL(`${url.replace(/\/$/, '')}/${operation}`);
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      authorization: `Bearer ${token}`,
    };
    const asked = request(
      at,
      {
        method: 'POST',
        headers,
        minVersion: 'TLSv1.2',
        signal: AbortSignal.timeout(timeoutMs),
        ...(caFile === undefined ? {} : { ca: readFileSync(caFile) }),
      },
      (response) => {
        const pieces: Buffer[] = [];
        let byteCount = 0;
        response.on('data', (piece: Buffer) => {
          byteCount += piece.length;
          if (byteCount > answerBytesMax) response.destroy(new Error(`more than ${String(answerBytesMax)} bytes`));
          else pieces.push(piece);
        });
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(pieces).toString('utf8') }),
        );
      },
    );
    asked.on('error', reject);
    asked.end(body);
  });
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body) as unknown;
  } catch (cause) {
    throw unavailable('answered with something that is no JSON', cause);
  }
}

function field(answer: unknown, name: 'plaintext' | 'ciphertext', context: KeyContext): Buffer {
  const value = (answer as Record<string, unknown> | null)?.[name];
  const bytes = typeof value === 'string' ? Buffer.from(value, 'base64') : Buffer.alloc(0);
  if (name === 'plaintext' ? bytes.length === 32 : bytes.length > 0) return bytes;
  throw unavailable(`answered without the ${name} of the ${nameOf(context)}`);
}

function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  return cause.name === 'AbortError' || cause.name === 'TimeoutError'
    ? 'not in time'
    : ((cause as NodeJS.ErrnoException).code ?? cause.message);
}

/** Passes by itself, as far as we know: the work is tried again. */
function unavailable(what: string, cause?: unknown): FluxError {
  const message = `The key management service ${what}. Nothing was changed; try again when it is back.`;
  return new FluxError('UNAVAILABLE', message, cause === undefined ? {} : { cause });
}
