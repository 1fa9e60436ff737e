import path from 'node:path';
import { fileURLToPath } from 'node:url';

import type { Settings } from './config-settings.ts';
import { isThisMachine } from './config-transport.ts';
import { homePaths } from './home.ts';

type Given = Pick<
  Settings,
  | 'FLUX_OBJECT_STORE'
  | 'FLUX_OBJECT_STORE_KEY_ID'
  | 'FLUX_OBJECT_STORE_KEY'
  | 'FLUX_OBJECT_CACHE_BYTES'
  | 'FLUX_PLAIN_DATABASE'
  | 'NODE_ENV'
>;

const form = 's3://bucket/prefix?region=us-gov-west-1, with &endpoint=https://... for a server of one’s own';

export interface ObjectStoreSettings {
  /** The objects, or this host's copies of those in the bucket. */
  objectStoreFolder: string;
  objectStoreBucket?: {
    bucket: string;
    /** Before every key: empty, or ending in a slash. */
    prefix: string;
    region: string;
    /** Of a server that speaks S3; absent: AWS's own for the region. */
    endpoint?: string;
    /** Absent: what the machine gives. */
    credentials?: { accessKeyId: string; secretAccessKey: string };
    cacheBytesMax: number;
  };
}

/** Where the objects are: a folder, or a bucket with a folder for this host's copies. `problemsOf` has looked at the same values. */
export function objectStoreOf(values: Given, home: string): ObjectStoreSettings {
  const { FLUX_OBJECT_STORE: given, FLUX_OBJECT_STORE_KEY_ID: accessKeyId, FLUX_OBJECT_STORE_KEY: secret } = values;
  if (given === undefined) return { objectStoreFolder: homePaths(home).objects };
  if (!given.startsWith('s3:')) {
    const folder = given.startsWith('file://') ? fileURLToPath(given) : path.resolve(given.slice('file:'.length));
    return { objectStoreFolder: folder };
  }
  const { hostname: bucket, pathname, searchParams } = new URL(given);
  const prefix = decodeURIComponent(pathname).replace(/^\/+|\/+$/g, '');
  const endpoint = searchParams.get('endpoint');
  return {
    objectStoreFolder: homePaths(home).objectCopies,
    objectStoreBucket: {
      bucket,
      prefix: prefix === '' ? '' : `${prefix}/`,
      region: searchParams.get('region') ?? '',
      ...(endpoint === null ? {} : { endpoint }),
      ...(accessKeyId !== undefined && secret !== undefined
        ? { credentials: { accessKeyId, secretAccessKey: secret } }
        : {}),
      cacheBytesMax: values.FLUX_OBJECT_CACHE_BYTES,
    },
  };
}

/** What is wrong with the settings of the object store, as sentences. */
export function objectStoreProblems(values: Partial<Given>): string[] {
  const { FLUX_OBJECT_STORE: given, FLUX_OBJECT_STORE_KEY_ID: keyId, FLUX_OBJECT_STORE_KEY: secret } = values;
  const problems: string[] = [];
  if ((keyId === undefined) !== (secret === undefined)) {
    problems.push(
      `${keyId === undefined ? 'FLUX_OBJECT_STORE_KEY_ID' : 'FLUX_OBJECT_STORE_KEY'} is missing; both are set, or neither, and then the machine’s own role is used`,
    );
  }
  if (given?.startsWith('s3:') !== true) return problems;
  const url = URL.canParse(given) ? new URL(given) : null;
  const unknown = [...(url?.searchParams.keys() ?? [])].filter((name) => name !== 'region' && name !== 'endpoint');
  if (!url || !/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(url.hostname) || unknown.length > 0) {
    return [...problems, `FLUX_OBJECT_STORE should be ${form}`];
  }
  if (!/^[a-z0-9-]{2,40}$/.test(url.searchParams.get('region') ?? '')) {
    problems.push(`FLUX_OBJECT_STORE names no region; it should be ${form}`);
  }
  const endpoint = url.searchParams.get('endpoint');
  if (endpoint === null) return problems;
  if (!URL.canParse(endpoint) || !/^https?:$/.test(new URL(endpoint).protocol)) {
    problems.push('FLUX_OBJECT_STORE’s endpoint is no https address');
  } else if (
    values.NODE_ENV === 'production' &&
    values.FLUX_PLAIN_DATABASE !== 'allow' &&
    !isProtected(new URL(endpoint))
  ) {
    problems.push(
      'FLUX_OBJECT_STORE leaves this machine without TLS; use an https endpoint, or set FLUX_PLAIN_DATABASE=allow where the network itself is protected',
    );
  }
  return problems;
}

function isProtected({ protocol, hostname }: URL): boolean {
  return protocol === 'https:' || isThisMachine(hostname);
}
