/** The checks behind /health: each uses what the work uses, and throws what is wrong. */
import { mkdir, open, rm } from 'node:fs/promises';
import path from 'node:path';

import { canonicalBytes } from './canonical-json.ts';
import { sha256 } from './crypto/hash.ts';
import { randomBytes, randomUuid } from './crypto/random.ts';
import { echoCheckpoint } from './db/operation-counts.ts';
import type { Queryable } from './db/pool.ts';

/** Writes a few bytes into the store, reads them back and removes them. */
export async function checkObjectStore(folder: string): Promise<void> {
  const parent = path.join(folder, 'partial');
  await mkdir(parent, { recursive: true, mode: 0o700 });
  const file = path.join(parent, `health-${randomUuid()}`);
  const written = randomBytes(64);
  const handle = await open(file, 'wx+', 0o600);
  try {
    await handle.write(written, 0, written.length, 0);
    await handle.sync();
    const { buffer } = await handle.read(Buffer.alloc(written.length), 0, written.length, 0);
    if (!buffer.equals(written)) throw new Error('the object store gave back other bytes than were written');
  } finally {
    await handle.close();
    await rm(file, { force: true });
  }
}

/**
 * A checkpoint's way without its row, which only the holder of a lease may write: made, sent, hashed by the database, taken
 * back and compared.
 */
export async function checkCheckpointRoundTrip(db: Queryable): Promise<void> {
  const body = canonicalBytes({ probe: randomUuid(), version: 1, cursor: '{"offset":0,"record":0}' });
  const found = await echoCheckpoint(db, body);
  const expected = sha256(body);
  if (!found.body.equals(body) || !found.hash.equals(expected)) {
    throw new Error('the database gave back another checkpoint than it was sent');
  }
}
