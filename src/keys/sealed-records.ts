/**
 * What stands in tables and is sealed: run payloads, the records that a contract refused, and the secrets of connections and webhooks. A sealed value is one byte of
 * format (1), four of the data key's version, and a box (nonce, ciphertext, tag) under a key derived for its run or source.
 * The box is bound to its place, so that a value which was moved to another row does not open.
 */
import { type AeadKey, deriveKey, openBox, prepareKey, sealBox } from '../crypto/aead.ts';
import type { Queryable } from '../db/pool.ts';
import { FluxError } from '../errors.ts';
import type { DataKey, KeyRing } from './key-ring.ts';

/** The run that a payload is of. */
export interface PayloadPlace {
  agency: string;
  runId: string;
}

/** A record of a pinned source that a version of a contract refused: the same for a run and for those that fork from it. */
export interface RejectedPlace {
  agency: string;
  /** Lower-case hex, of the pinned source. */
  sourceSha256: string;
  recordNo: bigint | number;
  contractName: string | null;
  contractVersion: number | null;
}

type Place = readonly (string | number | null)[];

export function sealPayload(key: DataKey, place: PayloadPlace, payload: unknown): Buffer {
  return seal(key, ['flux payload', place.agency, place.runId], [], payload);
}

/** @throws OBJECT_CORRUPTED, KEY_UNAVAILABLE */
export async function openPayload(
  { keys, db }: { keys: KeyRing; db: Queryable },
  place: PayloadPlace,
  sealed: Buffer,
): Promise<Record<string, unknown>> {
  const key = await keyOf(keys, db, place.agency, sealed);
  const what = `the payload of run ${place.runId}`;
  return open(key, ['flux payload', place.agency, place.runId], [], sealed, what) as Record<string, unknown>;
}

/** A record and why it was refused. */
export interface RejectedContent {
  raw: string | null;
  reasons: readonly { path: string; rule: string; message: string }[];
}

export function sealRejected(key: DataKey, place: RejectedPlace, { raw, reasons }: RejectedContent): Buffer {
  return seal(key, ['flux rejected', place.agency, place.sourceSha256], placeOf(place), { raw, reasons });
}

/** @throws OBJECT_CORRUPTED, KEY_UNAVAILABLE */
export async function openRejected(
  { keys, db }: { keys: KeyRing; db: Queryable },
  place: RejectedPlace,
  sealed: Buffer,
): Promise<RejectedContent> {
  const key = await keyOf(keys, db, place.agency, sealed);
  const group = ['flux rejected', place.agency, place.sourceSha256];
  return open(key, group, placeOf(place), sealed, `rejected record ${String(place.recordNo)}`) as RejectedContent;
}

/** The connection that a secret is of. */
export interface SecretPlace {
  agency: string;
  connection: string;
  kind: string;
}

export function sealConnectionSecret(key: DataKey, { agency, connection, kind }: SecretPlace, secret: unknown): Buffer {
  return seal(key, ['flux connection', agency, connection], [kind], secret);
}

/** @throws OBJECT_CORRUPTED, KEY_UNAVAILABLE */
export async function openConnectionSecret(
  { keys, db }: { keys: KeyRing; db: Queryable },
  { agency, connection, kind }: SecretPlace,
  sealed: Buffer,
): Promise<Record<string, unknown>> {
  const key = await keyOf(keys, db, agency, sealed);
  const what = `the secret of connection ${connection}`;
  return open(key, ['flux connection', agency, connection], [kind], sealed, what) as Record<string, unknown>;
}

/** The webhook that a secret is of. */
export interface WebhookPlace {
  agency: string;
  webhookId: string;
}

/** @param secret its bytes */
export function sealWebhookSecret(key: DataKey, { agency, webhookId }: WebhookPlace, secret: Buffer): Buffer {
  return seal(key, ['flux webhook secret', agency], [webhookId], secret.toString('base64'));
}

/** @throws OBJECT_CORRUPTED, KEY_UNAVAILABLE */
export async function openWebhookSecret(
  { keys, db }: { keys: KeyRing; db: Queryable },
  { agency, webhookId }: WebhookPlace,
  sealed: Buffer,
): Promise<Buffer> {
  const key = await keyOf(keys, db, agency, sealed);
  const what = `the secret of webhook ${webhookId}`;
  return Buffer.from(open(key, ['flux webhook secret', agency], [webhookId], sealed, what) as string, 'base64');
}

const format = 1;
const headByteCount = 5;

/** @param group has a key of its own, so that one key seals no more boxes than random nonces allow */
function seal(dataKey: DataKey, group: Place, place: Place, content: unknown): Buffer {
  const head = Buffer.alloc(headByteCount);
  head[0] = format;
  head.writeUInt32BE(dataKey.version, 1);
  const box = sealBox(groupKey(dataKey, group), Buffer.from(JSON.stringify(content)), contextOf(head, group, place));
  return Buffer.concat([head, box]);
}

function open(dataKey: DataKey, group: Place, place: Place, sealed: Buffer, what: string): unknown {
  const head = sealed.subarray(0, headByteCount);
  const content = openBox(groupKey(dataKey, group), sealed.subarray(headByteCount), contextOf(head, group, place));
  if (!content) throw corrupted(what);
  return JSON.parse(content.toString('utf8')) as unknown;
}

async function keyOf(keys: KeyRing, db: Queryable, agency: string, sealed: Buffer): Promise<DataKey> {
  if (sealed.length < headByteCount || sealed[0] !== format) throw corrupted('a sealed value');
  return keys.ofVersion(db, agency, 'records', sealed.readUInt32BE(1));
}

/** The last group of each data key: the records of a batch are all of one source, and a derivation each would cost more than its box. */
const lastGroup = new WeakMap<DataKey, { name: string; key: AeadKey }>();

function groupKey(dataKey: DataKey, group: Place): AeadKey {
  const name = JSON.stringify(group);
  const last = lastGroup.get(dataKey);
  if (last?.name === name) return last.key;
  const key = prepareKey(deriveKey(dataKey.key, Buffer.from(name), 'flux records'));
  lastGroup.set(dataKey, { name, key });
  return key;
}

function contextOf(head: Buffer, group: Place, place: Place): Buffer {
  return Buffer.concat([head, Buffer.from(JSON.stringify([group, place]))]);
}

function placeOf({ recordNo, contractName, contractVersion }: RejectedPlace): Place {
  return [String(recordNo), contractName, contractVersion];
}

function corrupted(what: string): FluxError {
  return new FluxError(
    'OBJECT_CORRUPTED',
    `Sealed content does not verify: ${what} was changed, or belongs to another row. Restore it from a backup.`,
  );
}
