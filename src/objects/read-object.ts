import { createReadStream } from 'node:fs';

import type { DataKey, ObjectStore } from './object-store.ts';
import { corrupted, readSealed } from './sealed-file.ts';

/**
 * An object's content as a stream, sealed or plain.
 *
 * @param object.keyVersion what sealed it when it was stored; null: nothing
 * @throws OBJECT_CORRUPTED it is not what was stored
 */
export async function* readObject(
  objects: Pick<ObjectStore, 'pathOf' | 'sealOf'>,
  { address, keyVersion }: { address: string; keyVersion: number | null },
  keyOf: (version: number) => Promise<DataKey>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const seal = await objects.sealOf(address, keyOf);
  // Whoever can write to the store must not pass by the seal with a plain file.
  if ((seal === null) !== (keyVersion === null)) throw corrupted(`the object ${address} was sealed otherwise`);
  const path = objects.pathOf(address);
  if (seal === null) yield* createReadStream(path) as AsyncIterable<Uint8Array>;
  else yield* readSealed(path, seal);
}
