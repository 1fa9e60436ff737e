import { sql } from '../../src/db/sql.ts';
import { follow } from '../../src/events/follow.ts';
import { startHints } from '../../src/events/listen.ts';
import type { Arena } from './arena.ts';

/** Clients that follow runs through whatever happens, and lose their connection now and then on top of it. */
export interface Subscribers {
  follow(agency: string, runId: string): void;
  readonly reconnects: number;
  /** Waits until each has what the table has, and puts what they were given into chaos.received. */
  settle(): Promise<void>;
  stop(): Promise<void>;
}

const quiet = { info: () => undefined, warn: () => undefined };

export function createSubscribers(arena: Arena, random: () => number): Subscribers {
  const hints = startHints({ url: arena.apiUrl, logger: quiet });
  const stopping = new AbortController();
  const received = new Map<string, bigint[]>();
  const tasks: Promise<void>[] = [];
  let reconnects = 0;

  const listen = async (agency: string, runId: string, seqs: bigint[]): Promise<void> => {
    while (!stopping.signal.aborted) {
      const connection = AbortSignal.any([stopping.signal, AbortSignal.timeout(300 + Math.floor(random() * 3_000))]);
      reconnects += 1;
      let ended = false;
      try {
        const request = { sealed: () => arena.sealed(agency), runId, afterSeq: seqs.at(-1) ?? 0n, signal: connection };
        for await (const item of follow({ pool: arena.api, hints, logger: quiet }, request)) {
          ended = 'kind' in item;
          if ('kind' in item) break;
          seqs.push(item.seq);
        }
      } catch {
        // The server is away; the client comes back with its cursor.
      }
      // A run that is over may be resumed; who waits for that need not ask all the time.
      await new Promise((resolve) => setTimeout(resolve, ended ? 2_000 : 100));
    }
  };
  return {
    get reconnects() {
      return reconnects;
    },
    follow(agency, runId) {
      const seqs: bigint[] = [];
      received.set(runId, seqs);
      tasks.push(listen(agency, runId, seqs));
    },
    async settle() {
      const until = performance.now() + 30_000;
      for (const [runId, seqs] of received) {
        for (;;) {
          const [run] = await arena.ask<{ last: bigint }>(
            sql`select last_seq as last from flux.runs where run_id = ${runId}`,
          );
          if ((seqs.at(-1) ?? 0n) >= (run?.last ?? 0n) || performance.now() > until) break;
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
        await arena.ask(sql`
          insert into chaos.received (subscriber, position, run_id, seq)
          select ${`subscriber of ${runId}`}, position, ${runId}, seq::bigint
          from jsonb_array_elements_text(${JSON.stringify(seqs.map(String))}::jsonb) with ordinality as r (seq, position)
          on conflict (subscriber, position) do update set seq = excluded.seq
        `);
      }
    },
    async stop() {
      stopping.abort();
      await Promise.all(tasks);
      await hints.stop();
    },
  };
}
