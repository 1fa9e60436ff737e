import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';

import { randomUuid } from '../crypto/random.ts';
import { leadAudit } from '../db/audit-sealing.ts';
import { channels, notifyThrough, type SendHint } from '../db/notify.ts';
import { connect, type Connection } from '../db/pool.ts';
import { inTransaction } from '../db/transaction.ts';
import { toFluxError } from '../errors.ts';
import type { Anchor } from './anchor.ts';
import { auditHint } from './hint.ts';
import { loadLedger, type Ledger } from './ledger.ts';
import type { SignatureAlgorithm } from './signed-note.ts';
import { sealBatch, signDue } from './seal-batch.ts';

export interface SealerOptions {
  databaseUrl: string;
  /** FLUX_AUDIT_KEY. */
  auditKey: Buffer;
  /** FLUX_AUDIT_ALGORITHM; Ed25519 where it is not said. */
  auditAlgorithm?: SignatureAlgorithm;
  anchor: Anchor;
  log: SealerLog;
  /** Where hints travel another way than through the database. */
  sendHint?: SendHint | undefined;
  /** How often it looks when nothing waits, milliseconds. */
  pollMs?: number;
}

export interface SealerLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface Sealer {
  id: string;
  /** Seals and signs what waits, and gives the lease back. */
  stop(): Promise<void>;
}

const leaseMs = 4_000;
const renewMs = 1_000;
const defaultPollMs = 200;
const retryMs = 500;

/**
 * Starts the sealer: it waits for the lease, then numbers, hashes and signs what is in the inbox until it stops or another
 * leads. Any number may run; one works.
 *
 *   standing by -> leading      the lease was free; the trees are read and held against the anchor
 *   leading -> standing by      a transaction failed, or another sealer has the lease: what is known is read anew
 */
export function startSealer(options: SealerOptions): Sealer {
  const id = `${hostname()}:${String(process.pid)}:${randomUuid().slice(0, 8)}`;
  const stopping = new AbortController();
  const done = (async () => {
    while (!stopping.signal.aborted) {
      let connection: (Connection & { end(): Promise<void> }) | undefined;
      try {
        connection = await connect({ url: options.databaseUrl, applicationName: 'flux sealer' });
        await lead(connection, id, options, stopping.signal);
      } catch (cause) {
        options.log.warn({ err: toFluxError(cause) }, 'sealing is interrupted; it begins again');
      } finally {
        await connection?.end().catch(() => undefined);
      }
      await delay(retryMs, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  })();
  return {
    id,
    async stop() {
      stopping.abort();
      await done;
    },
  };
}

async function lead(
  connection: Connection,
  sealer: string,
  options: SealerOptions,
  signal: AbortSignal,
): Promise<void> {
  const epoch = await leadAudit(connection, { sealer, epoch: null, leaseMs });
  if (epoch === null) return;
  const ledger = await loadLedger(connection, options);
  options.log.info({ epoch: String(epoch), agencies: ledger.trees.size }, 'this sealer leads');
  let renewedAt = Date.now();
  const renew = async (): Promise<void> => {
    if (Date.now() - renewedAt < renewMs) return;
    if ((await leadAudit(connection, { sealer, epoch, leaseMs })) === null) throw new Error('another sealer leads');
    renewedAt = Date.now();
  };
  while (!signal.aborted) {
    await renew();
    const sealed = await step(connection, epoch, ledger, options, false);
    if (sealed < batchLimit) {
      await delay(options.pollMs ?? defaultPollMs, undefined, { signal }).catch(() => undefined);
    }
  }
  while ((await step(connection, epoch, ledger, options, true)) === batchLimit);
  await leadAudit(connection, { sealer, epoch, leaseMs: 0 });
}

/** Of one transaction: what each of them costs besides its entries is shared by as many as are waiting. */
export const batchLimit = 4_000;

/**
 * Seals one batch and signs what is due, in one transaction; then tells the anchor and the watchers.
 *
 * @returns how many entries were sealed
 */
export async function step(
  connection: Connection,
  epoch: bigint,
  ledger: Ledger,
  { anchor, sendHint = notifyThrough(connection) }: Pick<SealerOptions, 'anchor' | 'sendHint'>,
  signAll: boolean,
): Promise<number> {
  const { sealed, notes } = await inTransaction(connection, async (tx) => ({
    sealed: await sealBatch(tx, epoch, ledger, batchLimit),
    notes: await signDue(tx, epoch, ledger, signAll),
  }));
  if (notes.length > 0) await anchor.append(notes);
  if (sealed > 0) await sendHint(channels.runEvents, auditHint);
  return sealed;
}
