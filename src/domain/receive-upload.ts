import { runningSha256 } from '../crypto/hash.ts';
import type { Connection } from '../db/pool.ts';
import { inTenant } from '../db/transaction.ts';
import {
  countOpenUploads,
  findUpload,
  insertUpload,
  insertUploadPart,
  listUploadParts,
  setUpload,
  type Upload,
  type UploadPart,
} from '../db/uploads.ts';
import { FluxError, toFluxError } from '../errors.ts';
import type { ObjectStore, StoredObject } from '../objects/object-store.ts';
import { readObject } from '../objects/read-object.ts';
import type { Caller, DomainDeps } from './caller.ts';
import { perform, recordRefusal } from './perform.ts';

export interface UploadDeps extends DomainDeps {
  objects: Pick<ObjectStore, 'put' | 'pathOf' | 'sealOf'>;
  /** Bytes of the largest upload. */
  byteCountMax: number;
}

/** One request of an upload. */
export interface UploadRequest {
  name: string;
  /** Where in the whole its first byte belongs; 0 begins a new upload. */
  firstByte: number;
  /** Bytes of the whole. */
  byteCount: number;
  /** What the whole must be; null where the sender does not say. */
  sha256: Buffer | null;
  /** Ends where the request ends, be it too early. */
  body: AsyncIterable<Uint8Array>;
}

const openUploadsMax = 100;
const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;

/**
 * Takes what a request brings of an upload. What has arrived is kept even if the request breaks off; the next one goes on behind
 * it. The upload is complete when all its bytes are there and their digest, where the sender gave one, is right; from then on
 * `upload://name` means it, in place of an earlier one. Each request that brings something has an audit entry.
 *
 * @throws INVALID_INPUT the name, the range, or the digest
 * @throws LIMIT_EXCEEDED too large, or too many open uploads
 */
export async function receiveUpload(deps: UploadDeps, caller: Caller, request: UploadRequest): Promise<Upload> {
  const { agency } = caller.principal;
  const asked = { action: 'upload.receive', resourceType: 'upload', resourceId: request.name, reason: null };
  try {
    requirePlausible(deps, request);
    await inTenant(deps.pool, caller.sealed(), (tx) => requireNext(tx, request));
  } catch (cause) {
    const error = toFluxError(cause);
    await recordRefusal(
      deps,
      caller,
      { ...asked, resourceId: namePattern.test(request.name) ? request.name : null },
      error,
    );
    throw error;
  }
  const key = deps.keys?.seals
    ? await inTenant(deps.pool, caller.sealed(), async (tx) => (await deps.keys?.newest(tx, agency, 'records')) ?? null)
    : null;
  const stored = await deps.objects.put(agency, request.body, key);
  const whole = await digestOfWhole(deps, caller, request, stored);
  const wrong = whole !== null && request.sha256 !== null && !whole.equals(request.sha256);
  const { value } = await perform<Upload, UploadRequest>(deps, caller, {
    ...asked,
    idempotencyKey: null,
    request: { name: request.name, firstByte: request.firstByte, byteCount: request.byteCount, sha256: stored.sha256 },
    check: () => request,
    change: async (tx) => {
      const upload = await takePart(tx, caller, request, { stored, whole: wrong ? null : whole, wrong });
      const { name, received, status, sha256 } = upload;
      const after = {
        bytes: `${String(request.firstByte)}-${String(received)}/${String(request.byteCount)}`,
        status,
        ...(sha256 ? { sha256: sha256.toString('hex') } : {}),
      };
      return { value: upload, resourceId: name, reference: { name }, after };
    },
    again: () => Promise.reject(new Error('an upload has no idempotency key')),
  });
  if (!wrong) return value;
  throw new FluxError(
    'INVALID_INPUT',
    `The upload ${request.name} is not what its digest says: expected ${request.sha256?.toString('hex') ?? ''}, found ${whole.toString('hex')}. Send it again from the beginning.`,
  );
}

/** The upload of a name that goes on; otherwise the newest complete one; null where there is neither. */
export function uploadOf(deps: DomainDeps, caller: Caller, name: string): Promise<Upload | null> {
  return inTenant(
    deps.pool,
    caller.sealed(),
    async (tx) => (await findUpload(tx, name, 'OPEN')) ?? (await findUpload(tx, name, 'COMPLETE')),
  );
}

function requirePlausible({ byteCountMax }: UploadDeps, { name, firstByte, byteCount }: UploadRequest): void {
  if (!namePattern.test(name)) {
    throw new FluxError(
      'INVALID_INPUT',
      'An upload’s name is up to 100 letters, digits, dots, dashes and underscores, and begins with a letter or digit.',
    );
  }
  if (byteCount > byteCountMax) {
    throw new FluxError(
      'LIMIT_EXCEEDED',
      `The upload would have ${String(byteCount)} bytes; at most ${String(byteCountMax)} are taken.`,
    );
  }
  if (byteCount < 1 || firstByte >= byteCount) {
    throw new FluxError(
      'INVALID_INPUT',
      `Expected bytes of an upload that has some, found ${String(firstByte)} of ${String(byteCount)}.`,
    );
  }
}

async function requireNext(
  tx: Connection,
  { name, firstByte, byteCount }: UploadRequest,
  lock = false,
): Promise<Upload | null> {
  const open = await findUpload(tx, name, 'OPEN', { lock });
  if (firstByte === 0) {
    if (open === null && (await countOpenUploads(tx)) >= openUploadsMax) {
      throw new FluxError(
        'LIMIT_EXCEEDED',
        `The agency has ${String(openUploadsMax)} uploads that are not complete. Complete some; the others go after a day.`,
      );
    }
    return open;
  }
  if (open?.received === BigInt(firstByte) && open.byteCount === BigInt(byteCount)) return open;
  throw new FluxError(
    'INVALID_INPUT',
    open === null
      ? `No upload ${name} is open. Begin it with byte 0.`
      : `The upload ${name} goes on at byte ${String(open.received)} of ${String(open.byteCount)}, not at ${String(firstByte)} of ${String(byteCount)}.`,
    open === null ? {} : { details: { uploadOffset: String(open.received) } },
  );
}

/** The digest of the whole, when this part is the last one; null before. */
async function digestOfWhole(
  deps: UploadDeps,
  caller: Caller,
  request: UploadRequest,
  stored: StoredObject,
): Promise<Buffer | null> {
  const received = request.firstByte + stored.byteCount;
  if (received !== request.byteCount) return null;
  if (request.firstByte === 0) return Buffer.from(stored.sha256, 'hex');
  const { keys } = deps;
  const inTx = <T>(work: (tx: Connection) => Promise<T>): Promise<T> => inTenant(deps.pool, caller.sealed(), work);
  const before = await inTx(async (tx) => {
    const open = await requireNext(tx, request);
    return open === null ? [] : listUploadParts(tx, open.uploadId);
  });
  const hash = runningSha256();
  for (const { address, keyVersion } of [...before, stored]) {
    const keyOf = (version: number) => {
      if (!keys)
        throw new FluxError('KEY_UNAVAILABLE', 'A part of the upload is sealed, and this process has no keys.');
      return inTx((tx) => keys.ofVersion(tx, caller.principal.agency, 'records', version));
    };
    for await (const piece of readObject(deps.objects, { address, keyVersion }, keyOf)) hash.update(piece);
  }
  return hash.digest();
}

async function takePart(
  tx: Connection,
  caller: Caller,
  request: UploadRequest,
  { stored, whole, wrong }: { stored: StoredObject; whole: Buffer | null; wrong: boolean },
): Promise<Upload> {
  const open = await requireNext(tx, request, true);
  const begins = request.firstByte === 0;
  // A new beginning ends what was begun before.
  if (begins && open) await setUpload(tx, open.uploadId, { status: 'ABANDONED', received: open.received });
  const { name, byteCount, firstByte } = request;
  const upload =
    begins || open === null ? await insertUpload(tx, { name, byteCount, createdBy: caller.principal.subject }) : open;
  if (stored.byteCount > 0) await insertUploadPart(tx, upload.uploadId, partOf(firstByte, stored));
  const received = BigInt(firstByte + stored.byteCount);
  const status = wrong ? 'ABANDONED' : whole === null ? 'OPEN' : 'COMPLETE';
  return setUpload(tx, upload.uploadId, { status, received, sha256: whole });
}

function partOf(firstByte: number, { byteCount, sha256, address, keyVersion }: StoredObject): UploadPart {
  return {
    firstByte: BigInt(firstByte),
    byteCount: BigInt(byteCount),
    sha256: Buffer.from(sha256, 'hex'),
    address,
    keyVersion,
  };
}
