import { sql } from '../../src/db/sql.ts';
import { cancelRun } from '../../src/domain/cancel-run.ts';
import { resumeRun } from '../../src/domain/resume-run.ts';
import { patiently } from './arena.ts';
import type { Campaign } from './campaign.ts';
import { failpoints } from './failpoints.ts';
import type { Member } from './herd.ts';

const quiet = { info: () => undefined, warn: () => undefined };
export const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits for something that a fault brings about; a machine under load gets a minute. @returns whether it came */
export async function eventually(holds: () => Promise<boolean>, waitMs = 60_000): Promise<boolean> {
  const until = performance.now() + waitMs;
  while (!(await holds())) {
    if (performance.now() > until) return false;
    await wait(50);
  }
  return true;
}

/** Keeps work in the queue for those who are to die at it. */
async function keepQueueFilled(campaign: Campaign, stop: AbortSignal, list: { count: number }): Promise<void> {
  while (!stop.aborted) {
    const [queue] = await campaign.arena.ask<{ waiting: number }>(sql`
      select count(*)::int as waiting from flux.run_partitions where status = 'AVAILABLE'
    `);
    if ((queue?.waiting ?? 0) < 6) await campaign.queue(2, list);
    await wait(300);
  }
}

/** SIGKILL at every named failpoint, before and after, three workers dying at a time. @returns points never reached */
export async function killAtFailpoints(campaign: Campaign, points: readonly string[] = failpoints): Promise<string[]> {
  const left = [...points];
  const missed: string[] = [];
  const filled = new AbortController();
  await campaign.keepWorkers(2);
  // Small runs, so that each worker comes by every point: plan, batches with rejected records, publication.
  const filling = keepQueueFilled(campaign, filled.signal, { count: 44 });
  const lane = async (): Promise<void> => {
    for (let point = left.shift(); point !== undefined; point = left.shift()) {
      const victim = await campaign.herd.sacrifice(point, 'kill');
      if (victim === null) missed.push(point);
      else campaign.fault(`SIGKILL ${point}`);
    }
  };
  await Promise.all([lane(), lane(), lane()]);
  filled.abort();
  await filling;
  return missed;
}

/** Kills whichever worker chance names, and replaces it. */
export async function killAtRandom(campaign: Campaign, kills: number): Promise<void> {
  await campaign.queue(8, { count: 240 });
  for (let i = 0; i < kills; i += 1) {
    await campaign.keepWorkers(3);
    await wait(200 + campaign.random.below(1_200));
    const victim = campaign.random.pick(campaign.herd.members());
    const at = Date.now();
    await victim.kill('SIGKILL');
    await campaign.herd.noteLoss('SIGKILL at random', victim, at);
    campaign.fault('SIGKILL at random');
  }
}

/** Freezes a worker, waits until another has its partition, and lets it go on. @returns whether it came so far */
async function freezeAt(campaign: Campaign, point: string, skip: number): Promise<boolean> {
  const zombie = await campaign.herd.sacrifice(point, 'stop', { skip });
  if (zombie === null) return false;
  campaign.fault(`SIGSTOP ${point}, then SIGCONT`);
  const taken = await eventually(async () => {
    const held = await campaign.arena.ask(sql`select from flux.run_partitions where leased_by = ${zombie.id}`);
    return held.length === 0;
  });
  zombie.child.kill('SIGCONT');
  // It must find out by itself that it holds nothing, and then work on like any other.
  await wait(500);
  return taken;
}

/**
 * Zombies: frozen past their lease between two statements of a batch, and inside COPY. All at once, with one worker beside them that
 * wants the rows of their runs.
 */
export async function freezePastTheLease(campaign: Campaign): Promise<string[]> {
  await campaign.keepWorkers(1);
  const filled = new AbortController();
  const filling = keepQueueFilled(campaign, filled.signal, { count: 96 });
  const points = [
    ['after fence', 3],
    ['sent insert rows', 1],
    ['before COMMIT', 3],
    ['sent insert rows', 4],
  ] as const;
  const taken = await Promise.all(points.map(([point, skip]) => freezeAt(campaign, point, skip)));
  filled.abort();
  await filling;
  return points.flatMap(([point], i) => (taken[i] === true ? [] : [`nobody took over after SIGSTOP ${point}`]));
}

async function busyWorker(campaign: Campaign, besides: Member[] = []): Promise<Member | null> {
  let found: Member | undefined;
  await eventually(async () => {
    const rows = await campaign.arena.ask<{ id: string }>(sql`
      select leased_by as id from flux.run_partitions
      where status = 'EXECUTING' and kind = 'BATCHES' and records_read > 0 and lease_expires_at > clock_timestamp()
    `);
    found = campaign.herd
      .members()
      .find((member) => !besides.includes(member) && rows.some(({ id }) => id === member.id));
    return found !== undefined;
  });
  return found ?? null;
}

/** An event loop that stands still beyond the lease: no heartbeat, no answer, and then everything at once. */
export async function blockEventLoop(campaign: Campaign): Promise<void> {
  await campaign.keepWorkers(3);
  await campaign.queue(4, { count: 240, batchMs: 60 });
  const blocked: Member[] = [];
  for (let i = 0; i < 2; i += 1) {
    const worker = await busyWorker(campaign, blocked);
    if (worker === null) return;
    await campaign.herd.noteLoss('blocked event loop', worker);
    worker.command({ block: 8_000 });
    campaign.fault('event loop blocked for 8 s');
    blocked.push(worker);
  }
  await wait(8_500);
}

/** @returns what it changed: it must be nothing, for the database's clock decides */
export async function jumpClocks(campaign: Campaign): Promise<string[]> {
  await campaign.keepWorkers(2);
  const runs = await campaign.queue(4, { count: 96, batchMs: 60 });
  await busyWorker(campaign);
  campaign.herd.members().forEach((worker, i) => {
    worker.command({ clock: i % 2 === 0 ? 7_200_000 : -7_200_000 });
    campaign.fault('clock jump of 2 h');
  });
  const ids = runs.map(({ runId }) => runId);
  const done = await eventually(async () => {
    const rows = await campaign.arena.ask(sql`
      select from flux.runs where run_id = any (${ids}::uuid[]) and status = 'COMPLETED'
    `);
    return rows.length === ids.length;
  });
  const [changed] = await campaign.arena.ask<{ count: number }>(sql`
    select count(*)::int as count from flux.run_events
    where run_id = any (${ids}::uuid[])
      and (name in ('PartitionTakenOver', 'PartitionRetried') or abs(extract(epoch from at - clock_timestamp())) > 1800)
  `);
  // They have done their part: nobody goes on with a wrong clock.
  await Promise.all(campaign.herd.members().map((worker) => worker.kill('SIGKILL')));
  return [
    ...(done ? [] : ['clock jumps kept runs from completing']),
    ...(changed?.count === 0 ? [] : [`clock jumps changed ${String(changed?.count)} events`]),
  ];
}

/** What somebody can do to stored bytes. The set clauses are of `c`, the newest version; `p` is the one before. */
const damages = [
  ['a flipped byte', sql`body = set_byte(c.body, 20, get_byte(c.body, 20) # 1)`],
  ['a truncated body', sql`body = substring(c.body for 40)`],
  ['an older version put in its place', sql`body = p.body, hash = p.hash`],
  ['bytes of another digest', sql`hash = sha256(c.body || c.body)`],
] as const;

/** Kills workers after some batches and damages the newest checkpoint of each before anybody has taken over. */
export async function damageCheckpoints(campaign: Campaign): Promise<string[]> {
  const { arena, herd } = campaign;
  const failed: string[] = [];
  await campaign.keepWorkers(1);
  const filled = new AbortController();
  const filling = keepQueueFilled(campaign, filled.signal, { count: 96 });
  await Promise.all(damages.map((damage) => killAndDamage(damage)));
  filled.abort();
  await filling;
  return failed;

  async function killAndDamage([name, change]: (typeof damages)[number]): Promise<void> {
    const victim = await herd.sacrifice('after COMMIT', 'kill', { skip: 8 });
    if (victim === null) {
      failed.push(`no worker came so far (${name})`);
      return;
    }
    for (const { runId, partition } of herd.losses.filter(({ worker }) => worker === victim.id)) {
      const changed = await arena.ask<{ version: number }>(sql`
        update flux.checkpoints c set ${change}
        from flux.checkpoints p
        where c.run_id = ${runId} and c.partition_no = ${partition}
          and p.run_id = c.run_id and p.partition_no = c.partition_no and p.version = c.version - 1
          and c.version = (select max(version) from flux.checkpoints m where m.run_id = c.run_id and m.partition_no = c.partition_no)
        returning c.version
      `);
      const version = changed[0]?.version;
      if (version === undefined) continue;
      campaign.fault(`checkpoint damaged: ${name}`);
      const noticed = await eventually(async () => {
        const events = await arena.ask(sql`
          select from flux.run_events
          where run_id = ${runId} and partition_no = ${partition} and name = 'CheckpointRejected'
            and data -> 'rejectedVersions' @> to_jsonb(${version}::int)
        `);
        return events.length > 0;
      });
      if (!noticed) failed.push(`nobody noticed ${name}`);
    }
  }
}

/** Cancels runs, some of whose workers cannot acknowledge, and resumes them. */
export async function cancelUnderFire(campaign: Campaign): Promise<string[]> {
  const { arena } = campaign;
  const failed: string[] = [];
  await campaign.keepWorkers(2);
  for (const frozen of [false, true]) {
    const runs = await campaign.queue(2, { count: 160, batchMs: 60 });
    const worker = await busyWorker(campaign);
    if (frozen) {
      worker?.child.kill('SIGSTOP');
      campaign.fault('SIGSTOP while a cancel is asked for');
    }
    for (const { agency, runId } of runs) {
      const deps = { pool: arena.api, logger: quiet };
      const asked = { runId, reason: 'chaos', idempotencyKey: null, graceSeconds: 2 };
      await patiently(() => cancelRun(deps, arena.caller(agency), asked)).catch(() => undefined);
      campaign.fault('cancel while batches commit');
    }
    const ids = runs.map(({ runId }) => runId);
    const over = await eventually(async () => {
      const rows = await arena.ask(sql`
        select from flux.runs where run_id = any (${ids}::uuid[]) and status in ('CANCELLED', 'COMPLETED')
      `);
      return rows.length === ids.length;
    });
    if (!over) failed.push('a cancelled run did not end');
    worker?.child.kill('SIGCONT');
    for (const { agency, runId } of runs) {
      const asked = { runId, reason: 'chaos', idempotencyKey: null };
      await resumeRun({ pool: arena.api, logger: quiet }, arena.caller(agency), asked).catch(() => undefined);
    }
  }
  return failed;
}

/** Ends backends of the workers: one after the other, then all at once. */
export async function endBackends(campaign: Campaign, times: number): Promise<void> {
  await campaign.keepWorkers(3);
  await campaign.queue(6, { count: 96, batchMs: 60 });
  for (let i = 0; i < times; i += 1) {
    await wait(400 + campaign.random.below(600));
    const all = i === times - 1;
    const ended = await campaign.arena.ask(sql`
      select pg_terminate_backend(pid) from (
        select pid from pg_stat_activity
        where application_name like 'flux worker%' and datname = current_database()
        order by ${all} desc, random()
        limit ${all ? 1_000 : 1}
      ) chosen
    `);
    if (ended.length > 0) campaign.fault(all ? 'all backends ended at once' : 'a backend ended');
  }
}
