import { isFinalStatus } from '../../src/db/run-vocabulary.ts';
import { operatorLife, subscribe } from './bystanders.ts';
import type { PlantedBug } from './bugs.ts';
import { happen } from './faults.ts';
import { findViolations } from './invariants.ts';
import { createRandom } from './random.ts';
import type { EventRow } from './storage.ts';
import { workerLife } from './worker.ts';
import {
  endIdleSessions,
  type Life,
  passTime,
  type Process,
  sleep,
  start,
  startProcess,
  step,
  type World,
  createWorld,
} from './world.ts';

export interface Outcome {
  seed: number;
  violations: string[];
  status: string;
  attempts: number;
  faults: readonly string[];
  steps: number;
  /** The run's events in words. Made on demand: nobody reads them of a schedule that holds. */
  history: () => string[];
}

/** I7: with the faults stopped a run is over within this time. */
const livenessMs = 30_000;
/** No schedule that ends takes a tenth of this. */
const stepsMax = 20_000;

/** One schedule: everything that happens in it follows from the seed. */
export function simulate(seed: number, bug: PlantedBug | null = null): Outcome {
  const random = createRandom(seed);
  const world = createWorld(random, bug);
  world.source.count = random.below(14);
  const workers: Process[] = [];
  start(world, startProcess('supervisor'), superviseWorkers(world, workers, 2 + random.below(2)));
  start(world, startProcess('server'), endIdleSessions(world));
  const api = startProcess('api');
  const subscriber = subscribe(world, api);
  start(world, api, operatorLife(world, api));

  const faults: string[] = [];
  let steps = 0;
  const faultSteps = 20 + random.below(300);
  for (; steps < faultSteps && world.db.run.status !== 'COMPLETED'; steps += 1) {
    if (random.chance(0.02)) faults.push(happen(world, workers));
    if (!step(world)) passTime(world);
  }
  world.faulty = false;
  for (const worker of workers) worker.frozenUntil = Math.min(worker.frozenUntil, world.now);
  let quietSince = world.now;
  let attempt = world.db.run.attempt;
  let overAt: number | null = null;
  for (; steps < stepsMax && world.now - quietSince < livenessMs; steps += 1) {
    if (!step(world)) passTime(world);
    const { run, events } = world.db;
    if (run.attempt !== attempt) {
      attempt = run.attempt;
      quietSince = world.now;
    }
    if (!isFinalStatus(run.status)) {
      overAt = null;
      continue;
    }
    overAt ??= world.now;
    // Long enough for an operator to resume it, for zombies to try something, and for a subscriber's poll.
    if (world.now - overAt > 700 && (subscriber.received.length === events.length || world.now - overAt > 5_000)) break;
  }
  return {
    seed,
    violations: findViolations(world, subscriber),
    status: world.db.run.status,
    attempts: world.db.run.attempt,
    faults,
    steps,
    history: () => world.db.events.map(describeEvent),
  };
}

/** Keeps as many workers alive as there shall be. */
function* superviseWorkers(world: World, workers: Process[], count: number): Life<void> {
  for (;;) {
    for (let i = workers.filter(({ alive }) => alive).length; i < count; i += 1) {
      const process = startProcess(`worker ${String(workers.length + 1)}`);
      workers.push(process);
      start(world, process, runUntilDrained(world, process));
    }
    yield* sleep(300 + world.random.below(700));
  }
}

function* runUntilDrained(world: World, process: Process): Life<void> {
  yield* workerLife(world, process);
  process.alive = false;
}

function describeEvent({ seq, at, name, partitionNo, data }: EventRow): string {
  return `${String(seq)} at ${String(at)} ${name} partition ${String(partitionNo)} ${JSON.stringify(data)}`;
}
