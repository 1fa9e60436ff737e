import { sql } from '../../src/db/sql.ts';
import type { TestDatabase } from './database.ts';

export interface RunState {
  status: string;
  attempt: number;
  events: { seq: bigint; name: string; attempt: number; data: Record<string, unknown> }[];
  partitions: { partition_no: number; status: string; epoch: number }[];
  /** BatchCommitted events. */
  batches: number;
}

/** A run as the tables have it, all of it in one snapshot. */
export async function readRun(database: TestDatabase, runId: string): Promise<RunState> {
  const { rows } = await database.admin().query<Omit<RunState, 'batches'>>(sql`
    select r.status, r.attempt,
      (select jsonb_agg(jsonb_build_object('seq', e.seq, 'name', e.name, 'attempt', e.attempt, 'data', e.data) order by e.seq)
        from flux.run_events e where e.run_id = r.run_id) as events,
      (select jsonb_agg(jsonb_build_object('partition_no', p.partition_no, 'status', p.status, 'epoch', p.epoch)
        order by p.partition_no) from flux.run_partitions p where p.run_id = r.run_id) as partitions
    from flux.runs r
    where r.run_id = ${runId}
  `);
  const run = rows[0];
  if (!run) throw new Error(`expected run ${runId}, found none`);
  return { ...run, batches: run.events.filter(({ name }) => name === 'BatchCommitted').length };
}

/** Waits until something holds; fails after 30 s. */
export async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error('waited 30 s in vain');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What one part of a test opens and another waits for. */
export function gate(): { passed: Promise<void>; open(): void } {
  let open = (): void => undefined;
  const passed = new Promise<void>((resolve) => (open = resolve));
  return { passed, open: () => open() };
}
