import { FluxError } from '../../src/errors.ts';
import type { PlantedBug } from './bugs.ts';
import type { Random } from './random.ts';
import type { Clock } from './statements.ts';
import {
  begin,
  blocked,
  commit,
  createStorage,
  endSession,
  openSession,
  requireOpen,
  rollback,
  type Session,
  type Storage,
} from './storage.ts';

/** What an actor waits for. Between any two of these, every other actor may go on, and any fault may happen. */
export type Op =
  /** `session` null is the process's pool: a transaction of its own on whatever connection. */
  { kind: 'sql'; session: Session | null; work: () => unknown } | { kind: 'sleep'; ms: number };
export type Life<T> = Generator<Op, T, unknown>;

/** An operating system's process: what dies, freezes and has a clock of its own. */
export interface Process {
  name: string;
  alive: boolean;
  frozenUntil: number;
  draining: boolean;
  /** Its wall clock's difference from the database's, milliseconds. */
  skewMs: number;
  sessions: Set<Session>;
}

interface Actor {
  life: Life<void>;
  process: Process;
  op: Op | null;
  reply: { value: unknown } | { error: unknown } | null;
  wakeAt: number;
  blockedSince: number | null;
}

/** idle_in_transaction_session_timeout of every session. */
const idleInTransactionMs = 10_000;
/** lock_timeout of every session. */
const lockTimeoutMs = 8_000;
const lockRetryMs = 25;

/** Everything that a schedule consists of. Nothing in it reads a real clock or real chance. */
export interface World {
  readonly db: Storage;
  readonly random: Random;
  readonly bug: PlantedBug | null;
  now: number;
  /** The source as it is now; a plan pins what it finds. */
  source: { version: number; count: number };
  readonly actors: Actor[];
  /** Faults may happen. */
  faulty: boolean;
  /** Whether the installation could grant pg_signal_backend, without which rescue ends nobody. */
  readonly endsBackends: boolean;
  /** Somebody has changed the bytes of a stored checkpoint. */
  damaged: boolean;
  /** Called when a hint is sent; replaced by the subscriber. */
  hint: () => void;
  readonly log: string[];
}

export function createWorld(random: Random, bug: PlantedBug | null): World {
  return {
    db: createStorage(),
    random,
    bug,
    now: 1_000,
    source: { version: 1, count: 0 },
    actors: [],
    faulty: true,
    endsBackends: random.chance(0.7),
    damaged: false,
    hint: () => undefined,
    log: [],
  };
}

export function startProcess(name: string): Process {
  return { name, alive: true, frozenUntil: 0, draining: false, skewMs: 0, sessions: new Set() };
}

export function start(world: World, process: Process, life: Life<void>): Actor {
  const actor: Actor = { life, process, op: null, reply: { value: undefined }, wakeAt: 0, blockedSince: null };
  world.actors.push(actor);
  return actor;
}

/** The clock that decides on leases: the database's, unless that very mistake is planted. */
export function clockOf(world: World, process: Process): Clock {
  const skew = world.bug === 'leases are kept by the workers’ own clocks' ? process.skewMs : 0;
  return { now: world.now + skew, at: world.now, bug: world.bug };
}

/** One statement on a session, in its transaction if it has one. */
export function* sql<T>(session: Session, work: () => T): Life<T> {
  return (yield { kind: 'sql', session, work }) as T;
}

/** One statement through the process's pool. */
export function* pooled<T>(work: () => T): Life<T> {
  return (yield { kind: 'sql', session: null, work }) as T;
}

export function* sleep(ms: number): Life<void> {
  yield { kind: 'sleep', ms };
}

export function* connect(world: World, process: Process): Life<Session> {
  return yield* pooled(() => {
    const session = openSession(process.name);
    process.sessions.add(session);
    return session;
  });
}

/** Ends the client's side; the server hears of it at once. */
export function disconnect(world: World, process: Process, session: Session): void {
  process.sessions.delete(session);
  endSession(world.db, session);
}

/** A transaction; the first statement travels with BEGIN. */
export function* inTransaction<T>(world: World, session: Session, first: () => unknown, rest: () => Life<T>): Life<T> {
  try {
    yield* sql(session, () => {
      if (session.tx === null) begin(session);
      first();
    });
    const result = yield* rest();
    yield* sql(session, () => commit(world.db, session, world.now));
    return result;
  } catch (cause) {
    rollback(world.db, session);
    throw cause;
  }
}

/** Kills a process. @param halfOpen its connections stay, with their locks, until somebody ends them */
export function kill(world: World, process: Process, halfOpen: boolean): void {
  for (const actor of world.actors) {
    // What was sent may have arrived.
    if (actor.process === process && actor.reply === null && actor.op?.kind === 'sql' && world.random.chance(0.5))
      execute(world, actor, actor.op);
  }
  process.alive = false;
  if (!halfOpen) for (const session of process.sessions) endSession(world.db, session);
  removeActors(world, process);
}

function removeActors(world: World, process: Process): void {
  for (let i = world.actors.length - 1; i >= 0; i -= 1) {
    if (world.actors[i]?.process === process) world.actors.splice(i, 1);
  }
}

/** Ends every connection; what was under way may have been worked first, and claims that were not flushed may be undone. */
export function restartDatabase(world: World): void {
  const { db } = world;
  for (const actor of world.actors) {
    if (actor.op?.kind === 'sql' && actor.reply === null && world.random.chance(0.3)) execute(world, actor, actor.op);
  }
  for (const { process } of world.actors) for (const session of process.sessions) endSession(db, session);
  if (world.random.chance(0.5)) for (const row of db.unflushed.reverse()) db.partitions.set(row.no, row);
  db.unflushed = [];
  for (const actor of world.actors) if (actor.op?.kind === 'sql') actor.reply = { error: gone() };
}

/** The server ends a session that sits in a transaction and says nothing: its client froze, or went without a goodbye. */
export function* endIdleSessions(world: World): Life<void> {
  for (;;) {
    yield* sleep(2_000);
    for (const holders of world.db.locks.values()) {
      for (const session of holders.keys()) {
        if (world.now - session.heardOf >= idleInTransactionMs) endSession(world.db, session);
      }
    }
  }
}

/** Works what an actor has sent and loses the answer, with the connection. */
export function loseReply(world: World, actor: Actor): boolean {
  const { op } = actor;
  if (op?.kind !== 'sql' || actor.reply !== null) return false;
  execute(world, actor, op);
  if (actor.reply === null) return false;
  actor.reply = { error: gone() };
  if (op.session) endSession(world.db, op.session);
  return true;
}

const gone = (): FluxError => new FluxError('UNAVAILABLE', 'Connection terminated unexpectedly');

/** One step of one actor, chosen by chance. @returns false when nobody can go on without time passing */
export function step(world: World): boolean {
  const { random } = world;
  let able = 0;
  for (const actor of world.actors) if (isAble(world, actor)) able += 1;
  if (able === 0) return false;
  let chosen = random.below(able);
  const actor = world.actors.find((one) => isAble(world, one) && (chosen -= 1) < 0) as Actor;
  world.now += 1 + random.below(6);
  if (actor.reply === null && actor.op?.kind === 'sql') execute(world, actor, actor.op);
  // The answer may come at once, or after others have gone on.
  if (actor.reply !== null && isAwake(world, actor.process) && random.chance(0.7)) goOn(world, actor);
  return true;
}

const isAwake = ({ now }: World, { alive, frozenUntil }: Process): boolean => alive && frozenUntil <= now;

function isAble(world: World, actor: Actor): boolean {
  if (actor.wakeAt > world.now) return false;
  // A frozen process's statement is on its way already; its answer has to wait.
  if (isAwake(world, actor.process)) return true;
  return actor.process.alive && actor.reply === null && actor.op?.kind === 'sql';
}

/** Lets time pass until somebody can go on. */
export function passTime(world: World): void {
  let next = Infinity;
  for (const { wakeAt, process } of world.actors) next = Math.min(next, Math.max(wakeAt, process.frozenUntil));
  world.now = Math.max(world.now + 1, Number.isFinite(next) ? next : world.now + 1_000);
}

function execute(world: World, actor: Actor, op: Extract<Op, { kind: 'sql' }>): void {
  try {
    if (op.session) {
      requireOpen(op.session);
      op.session.heardOf = world.now;
    }
    actor.reply = { value: op.work() };
    actor.blockedSince = null;
  } catch (error) {
    if (error === blocked) return waitForLock(world, actor);
    actor.reply = { error };
    actor.blockedSince = null;
  }
}

function waitForLock(world: World, actor: Actor): void {
  actor.blockedSince ??= world.now;
  actor.wakeAt = world.now + lockRetryMs;
  if (world.now - actor.blockedSince < lockTimeoutMs) return;
  actor.blockedSince = null;
  actor.reply = { error: new FluxError('UNAVAILABLE', 'canceling statement due to lock timeout') };
}

function goOn(world: World, actor: Actor): void {
  const reply = actor.reply as NonNullable<Actor['reply']>;
  actor.reply = null;
  const { done, value } = 'error' in reply ? actor.life.throw(reply.error) : actor.life.next(reply.value);
  if (done === true) {
    const at = world.actors.indexOf(actor);
    if (at >= 0) world.actors.splice(at, 1);
    return;
  }
  actor.op = value;
  if (value.kind !== 'sleep') return;
  actor.wakeAt = world.now + value.ms;
  actor.reply = { value: undefined };
}
