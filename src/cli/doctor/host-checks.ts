/** What `flux doctor` looks at on this machine and over the network, the database apart. */
import { access, constants, mkdir, readFile, statfs } from 'node:fs/promises';

import { readKeySet } from '../../auth/remote-key-set.ts';
import { type Config, requireIssuers } from '../../config.ts';
import { certificateEnd } from '../../crypto/certificate.ts';
import { ensureHome } from '../../home.ts';
import { openObjectStore } from '../../objects/open-object-store.ts';
import { startRedisHints } from '../../redis/redis-hints.ts';
import { readTls, type TlsFiles } from '../../server/tls.ts';
import { requireFreePort } from '../../supervisor/free-port.ts';
import { gigabytes, wrong } from './finding.ts';

const diskByteCountMin = 1024 ** 3;
const dayMs = 86_400_000;
/** A certificate is renewed well before its end, or its renewal has failed. */
const certificateDaysMin = 7;

export function node(version = process.versions.node): string {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const found = `Node ${version} on ${process.platform}-${process.arch}`;
  // As package.json has it: from there on TypeScript is run as it is written.
  if (major > 22 || (major === 22 && minor >= 18)) return found;
  throw wrong(found, { expected: 'Node 22.18 or newer', advice: 'Install a newer one' });
}

export function configuration(config: Config): string {
  requireIssuers(config);
  const keys = [config.contextKey, config.dataKey].length;
  return [`${config.environment}, ${String(keys)} keys present`, ...config.warnings].join('; ');
}

export async function home({ home: folder }: Config, diskMin = diskByteCountMin): Promise<string> {
  await ensureHome(folder);
  await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  return `${folder}, ${await roomIn(folder, { diskMin, name: 'FLUX_HOME' })}`;
}

/** A few bytes go in and come back. */
export async function objects(config: Config, diskMin = diskByteCountMin): Promise<string> {
  const { objectStoreFolder: folder, objectStoreBucket: bucket } = config;
  const place = bucket ? `s3://${bucket.bucket}/${bucket.prefix} with copies in ${folder}` : folder;
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await (await openObjectStore(config)).check();
  } catch (cause) {
    throw wrong(`${place} cannot be written (${(cause as Error).message})`, {
      expected: 'a folder or a bucket that API and workers may write, the same for all of them',
      advice: 'Correct its owner, make room (docs/operations/full-disk.md), or set FLUX_OBJECT_STORE',
    });
  }
  return `${place} keeps what it is given, ${await roomIn(folder, { diskMin, name: 'FLUX_OBJECT_STORE' })}`;
}

async function roomIn(folder: string, { diskMin, name }: { diskMin: number; name: string }): Promise<string> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  if (free >= diskMin) return `${gigabytes(free)} free`;
  throw wrong(`${folder} has ${gigabytes(free)} free`, {
    expected: `at least ${gigabytes(diskMin)}`,
    advice: `Make room (docs/operations/full-disk.md), or set ${name}`,
  });
}

export async function api(config: Config, running: string | undefined): Promise<string> {
  if (running === undefined) {
    await requireFreePort(config.host, config.port);
    return `not running; ${config.host}:${String(config.port)} is free`;
  }
  const response = await fetch(new URL('/health/ready', running), { signal: AbortSignal.timeout(3_000) }).catch(
    () => undefined,
  );
  if (response?.ok) return `ready at ${running}`;
  throw new Error(
    `${running}/health/ready ${response ? `answers ${String(response.status)}` : 'does not answer'}. Its log says why.`,
  );
}

export async function tls(files: TlsFiles): Promise<string> {
  readTls(files);
  const end = certificateEnd(await readFile(files.cert, 'utf8'));
  const days = Math.floor((end.getTime() - Date.now()) / dayMs);
  const found = `${files.cert} is good until ${end.toISOString()}`;
  if (days >= certificateDaysMin) return found;
  throw wrong(found, {
    expected: `${String(certificateDaysMin)} days at least`,
    advice: 'Renew it; the API takes the new file by itself',
  });
}

export async function redis(url: string): Promise<string> {
  const quiet = { info: () => undefined, warn: () => undefined };
  const { host } = new URL(url);
  const hints = startRedisHints({ url, logger: quiet });
  try {
    const ear = await hints.open();
    await ear.hear('flux_work', () => undefined);
    await ear.end();
    return `${host} carries hints`;
  } catch (cause) {
    throw wrong(`${host} does not (${(cause as Error).message})`, {
      expected: 'a Redis that takes this login and lets it publish and subscribe',
      advice: 'Start it, or correct REDIS_URL; without it events arrive by the polls, a second late',
    });
  } finally {
    await hints.stop();
  }
}

/** @param url where an issuer's keys are */
export async function keySet(url: string, { environment }: Config): Promise<string> {
  try {
    await readKeySet(url, { allowHttp: environment === 'development' });
    return `${url} gives its keys`;
  } catch (cause) {
    const { cause: root } = cause as { cause?: Error };
    throw wrong(`${(cause as Error).message.replace(/\.$/, '')}${root ? ` (${root.message})` : ''}`, {
      expected: 'a key set (RFC 7517) at that address',
      advice:
        'Correct it with flux issuers add or in FLUX_ISSUERS, or open the way there; meanwhile its tokens are refused',
    });
  }
}
