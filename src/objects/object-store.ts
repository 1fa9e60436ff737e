import { FluxError } from '../errors.ts';
import type { GrowthWatch } from './growing.ts';
import type { DataKey, ObjectSeal } from './sealed-format.ts';

export type { DataKey, ObjectSeal } from './sealed-format.ts';

/**
 * Content-addressed store. An address is `<agency>/<HMAC-SHA-256 hex>`: keyed per agency, so that equal bytes of two agencies are two
 * objects and an address reveals nothing about its content to who lacks the key.
 *
 * An object is there whole or not at all. With a data key it is sealed on its way into the store, and no plain byte reaches it.
 */
export interface ObjectStore {
  /**
   * Stores the bytes and says where they are. Storing the same bytes again under the same key gives the same address.
   *
   * @param dataKey the agency's newest key for objects; null stores plain bytes
   * @param watch is told where the bytes are written, so that they can be read meanwhile
   * @throws UNAVAILABLE the store does not answer; whatever `bytes` throws; then nothing is left behind
   */
  put(
    agency: string,
    bytes: AsyncIterable<Uint8Array>,
    dataKey?: DataKey | null,
    watch?: GrowthWatch,
  ): Promise<StoredObject>;
  /** Says that an object is about to be used again, so that retention leaves it. @returns whether it is there */
  keep(address: string): Promise<boolean>;
  /** The local file of an address, which is there once `sealOf` has answered. @throws INTERNAL the address is not one of this store's */
  pathOf(address: string): string;
  /**
   * How to read an object: its seal, or null when it is plain. Its bytes are in the local file from then on, for hours at least.
   *
   * @param keyOf the agency's data key of a version
   * @throws OBJECT_CORRUPTED its header does not verify at this address
   * @throws SOURCE_UNAVAILABLE it is not there
   * @throws UNAVAILABLE the store does not answer
   */
  sealOf(address: string, keyOf: (version: number) => Promise<DataKey>): Promise<FoundSeal | null>;
  /** All objects of an agency, in no order. */
  addresses(agency: string): AsyncIterable<string>;
  /**
   * Removes an object for good, unless it was stored or kept within the last `unusedForMs`: somebody is about to name it.
   *
   * @returns whether it is gone
   */
  remove(address: string, options: { unusedForMs: number }): Promise<boolean>;
  /** Writes a few bytes into the store, reads them back and removes them. @throws what is wrong */
  check(): Promise<void>;
}

export interface StoredObject {
  address: string;
  /** Lower-case hex, of the content. */
  sha256: string;
  /** Of the content. */
  byteCount: number;
  /** The version of the data key that sealed it; null for plain bytes. */
  keyVersion: number | null;
}

/** An object's seal, with what its header says of the content. */
export interface FoundSeal extends ObjectSeal {
  sha256: Buffer;
}

const addressPattern = /^[a-z0-9][a-z0-9-]{1,62}[a-z0-9]\/[0-9a-f]{64}$/;

/** An address as the path below a store's root: shelves keep folders small. @throws INTERNAL it is no address */
export function shelfOf(address: string): string {
  if (!addressPattern.test(address)) throw new FluxError('INTERNAL', `Expected an object address, found "${address}".`);
  const [agency = '', digest = ''] = address.split('/');
  return `${agency}/${digest.slice(0, 2)}/${digest}`;
}
