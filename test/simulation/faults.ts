import type { CheckpointRow } from './storage.ts';
import { endSession } from './storage.ts';
import { kill, loseReply, type Process, restartDatabase, type World } from './world.ts';

type Fault = (world: World, worker: Process | undefined) => void;

/** What can go wrong, each as likely as it is often listed. */
const faults: readonly [string, Fault][] = [
  ['kill', (world, worker) => worker && kill(world, worker, false)],
  ['kill, connections half-open', (world, worker) => worker && kill(world, worker, true)],
  ['freeze', (world, worker) => worker && freeze(world, worker)],
  ['freeze', (world, worker) => worker && freeze(world, worker)],
  ['drain', (_, worker) => worker && (worker.draining = true)],
  ['end a backend', (world, worker) => worker && endOneSession(world, worker)],
  ['restart the database', (world) => restartDatabase(world)],
  ['lose a reply', (world) => loseOneReply(world)],
  ['lose a reply', (world) => loseOneReply(world)],
  ['clock jump', (world, worker) => worker && (worker.skewMs = (world.random.chance(0.5) ? 1 : -1) * 7_200_000)],
  ['damage a checkpoint', (world) => damageCheckpoint(world)],
  [
    'change the source',
    (world) => (world.source = { version: world.source.version + 1, count: world.random.below(14) }),
  ],
  ['time passes', (world) => (world.now += world.random.below(4_000))],
];

/** Lets one fault happen. @returns its name */
export function happen(world: World, workers: readonly Process[]): string {
  const alive = workers.filter((worker) => worker.alive);
  const [name, fault] = world.random.pick(faults);
  fault(world, alive.length > 0 ? world.random.pick(alive) : undefined);
  return name;
}

function freeze(world: World, worker: Process): void {
  worker.frozenUntil = world.now + 200 + world.random.below(10_000);
  // What wakes first is chance too: the batch in hand may go on before the heartbeat notices anything.
  for (const actor of world.actors) {
    if (actor.process !== worker) continue;
    actor.wakeAt = Math.max(actor.wakeAt, worker.frozenUntil + world.random.below(400));
  }
}

function endOneSession(world: World, worker: Process): void {
  const open = [...worker.sessions].filter((session) => session.open);
  if (open.length > 0) endSession(world.db, world.random.pick(open));
}

function loseOneReply(world: World): void {
  const asking = world.actors.filter(({ op, reply }) => op?.kind === 'sql' && op.session !== null && reply === null);
  if (asking.length > 0) loseReply(world, world.random.pick(asking));
}

/** Somebody changes stored bytes: a digit, the end cut off, an older version's or another partition's bytes put there. */
function damageCheckpoint(world: World): void {
  const { checkpoints } = world.db;
  if (checkpoints.length === 0) return;
  const partitionNo = world.random.pick(checkpoints).partitionNo;
  const own = checkpoints.filter((row) => row.partitionNo === partitionNo).sort((a, b) => b.version - a.version);
  const newest = own[0] as CheckpointRow;
  const other = world.random.pick(checkpoints);
  const body = newest.body;
  const damaged: CheckpointRow = world.random.pick([
    { ...newest, body: Buffer.from(body.toString('utf8').replace(/"cursor":"(\d+)"/, '"cursor":"0"')) },
    { ...newest, body: body.subarray(0, world.random.below(body.length)) },
    { ...newest, body: other.body, hash: other.hash },
  ]);
  world.damaged = true;
  world.db.checkpoints = checkpoints.map((row) => (row === newest ? damaged : row));
}
