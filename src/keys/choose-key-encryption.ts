import { type KeyEncryption, localKeyEncryption } from './key-encryption.ts';
import { isRemoteKeyId, remoteKeyEncryption, type RemoteKeyEncryptionOptions } from './remote-key-encryption.ts';

/** What the configuration says of key encryption keys. */
export interface KeyEncryptionConfig {
  readonly dataKey: Buffer;
  readonly dataKeysBefore: readonly Buffer[];
  /** A key management service; without `keyName` it only unwraps, until `flux keys rewrap` has come back from it. */
  readonly kms?: Omit<RemoteKeyEncryptionOptions, 'keyName'> & { keyName?: string };
}

/** Wraps with the service's key where one is named, with FLUX_DATA_KEY otherwise; unwraps what either has wrapped. */
export function chooseKeyEncryption({ dataKey, dataKeysBefore, kms }: KeyEncryptionConfig): KeyEncryption {
  const local = localKeyEncryption(dataKey, dataKeysBefore);
  if (!kms) return local;
  const remote = remoteKeyEncryption({ ...kms, keyName: kms.keyName ?? '' });
  const { id, wrap } = kms.keyName === undefined ? local : remote;
  return {
    id,
    wrap,
    unwrap: (wrapped, context) => (isRemoteKeyId(wrapped.kekId) ? remote : local).unwrap(wrapped, context),
  };
}
