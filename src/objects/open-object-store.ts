import type { BucketOptions } from './bucket.ts';
import { createFileStore } from './file-store.ts';
import type { ObjectStore } from './object-store.ts';

/** What the configuration says of the object store. */
export interface ObjectStoreConfig {
  readonly dataKey: Buffer;
  /** The store itself, or this host's copies of what is in the bucket. */
  readonly objectStoreFolder: string;
  readonly objectStoreBucket?: BucketOptions & { cacheBytesMax: number };
}

/** The store in the bucket where one is named, in the folder otherwise. The SDK is loaded only for a bucket. */
export async function openObjectStore({
  objectStoreFolder: folder,
  objectStoreBucket: named,
  dataKey,
}: ObjectStoreConfig): Promise<ObjectStore> {
  if (!named) return createFileStore({ folder, dataKey });
  const [{ openBucket }, { createS3Store }] = await Promise.all([import('./bucket.ts'), import('./s3-store.ts')]);
  const { cacheBytesMax, ...bucket } = named;
  return createS3Store({ bucket: openBucket(bucket), cacheFolder: folder, cacheBytesMax, dataKey });
}
