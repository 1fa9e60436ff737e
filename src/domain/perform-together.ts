import { auditsStatement } from '../audit/append.ts';
import { findFirstResults, firstResultsInsert, newKeysGuard, tryLockNames } from '../db/idempotency.ts';
import type { Connection, Pool, Queryable } from '../db/pool.ts';
import type { Sql } from '../db/sql.ts';
import {
  type Ending,
  inTenantAtOnce,
  inTenantToEnd,
  notAsForeseen,
  type Statements,
  together,
} from '../db/transaction.ts';
import { isFluxError, toFluxError } from '../errors.ts';
import type { Caller, DomainDeps } from './caller.ts';
import {
  type Ask,
  type Change,
  checkAsk,
  type Identity,
  identityOf,
  perform,
  type Performed,
  recordRefusal,
  successOf,
} from './perform.ts';

/** How a use case does several requests of one agency, role and clearance in one transaction. */
export interface Gathering<T, Checked, Read> {
  /** Whether the request may stand in a group. */
  fits(checked: Checked): boolean;
  /** Reads what the plan needs, for all. */
  read(tx: Connection, members: readonly Member<Checked>[]): Promise<Read>;
  /** What is to be written for some of them. @throws one of them cannot be done */
  plan(tx: Queryable, read: Read, members: readonly Member<Checked>[]): Promise<Plan<T>>;
  /**
   * What `read` would answer, as far as earlier readings tell; null when they do not tell all.
   *
   * @returns is called when it is about to be sent
   */
  foresee(members: readonly Member<Checked>[]): (() => Foreseen<Read>) | null;
}

export interface Foreseen<Read> {
  read: Read;
  /** Fails when `read` would answer something else. */
  guard: Sql;
}

/** What is to be done for the members, nothing of it sent yet. */
export interface Plan<T> extends Statements<T> {
  /** One for each member, in their order. */
  changes: Omit<Change<T>, 'value'>[];
}

export interface Member<Checked> {
  caller: Caller;
  checked: Checked;
}

type AnyGathering = Gathering<unknown, unknown, unknown>;

/** A request that waits for its turn. */
interface Waiting extends Member<unknown> {
  ask: Ask<unknown, unknown>;
  identity: Identity;
  resolve(performed: Performed<unknown>): void;
  reject(error: unknown): void;
}

interface Line {
  waiting: Waiting[];
  underWay: number;
  /** Groups in a row that went otherwise than was foreseen, and how many are not to be foreseen before it is tried again. */
  surprises: number;
  unforeseen: number;
}

/** While one group is being committed the next one forms. Two at once were slower (bench/control-plane.ts): each is smaller, and has its own flush. */
const groupsAtOnce = 1;
/** Of one group; what waits beyond it comes with the next. */
const groupMax = 32;
/** What surprises each time, as a clock that differs does, must not cost each group a transaction for nothing: then one of a thousand. */
const surprisesMax = 10;

const lines = new WeakMap<Pool, Map<string, Line>>();

/**
 * As `perform`; requests that come while others of the same agency, role and clearance are under way share a transaction, as a
 * database gathers commits. Nobody waits for others to come: a request that is alone is performed at once.
 *
 * A group whose readings can be foreseen goes in one round trip, with a statement in front that fails when they would be others now; any
 * other, and one for which that fails, reads first.
 *
 * Each has its own audit entry, key, result and refusal. When anything in a group fails before its commit, the group is rolled
 * back and each request is performed by itself, so that one's failure is never another's. A commit whose reply is lost is an
 * error to each of them, as it is to one: who repeats the request is told by its key what became of it.
 */
export async function performTogether<T, Checked, Read>(
  deps: DomainDeps,
  caller: Caller,
  ask: Ask<T, Checked>,
  gathering: Gathering<T, Checked, Read>,
): Promise<Performed<T>> {
  let checked: Checked;
  let identity: Identity;
  try {
    checked = checkAsk(ask);
    identity = identityOf(ask);
  } catch {
    return perform(deps, caller, ask); // which refuses it again, and records that
  }
  if (!gathering.fits(checked)) return perform(deps, caller, ask);
  const line = lineOf(deps.pool, caller, ask.action);
  return new Promise<Performed<T>>((resolve, reject) => {
    line.waiting.push({ caller, ask, identity, checked, resolve, reject } as unknown as Waiting);
    advance(deps, line, gathering);
  });
}

function lineOf(pool: Pool, { principal }: Caller, action: string): Line {
  const ofPool = lines.get(pool) ?? new Map<string, Line>();
  lines.set(pool, ofPool);
  const name = [action, principal.agency, principal.role, String(principal.clearance)].join('|');
  const line = ofPool.get(name) ?? { waiting: [], underWay: 0, surprises: 0, unforeseen: 0 };
  ofPool.set(name, line);
  return line;
}

function advance(deps: DomainDeps, line: Line, gathering: AnyGathering): void {
  while (line.underWay < groupsAtOnce && line.waiting.length > 0) {
    line.underWay += 1;
    void performGroup(deps, line, line.waiting.splice(0, groupMax), gathering).finally(() => {
      // Behind what the answers have set going: whoever asks for one thing after the other comes with the next group, not the one after.
      setImmediate(() => {
        line.underWay -= 1;
        advance(deps, line, gathering);
      });
    });
  }
}

/** Resolves when the next group may come. What has to be performed by itself may wait for others, and keeps nobody back. */
async function performGroup(
  deps: DomainDeps,
  line: Line,
  group: readonly Waiting[],
  gathering: AnyGathering,
): Promise<void> {
  const ended = (await changeAtOnce(deps, line, group, gathering)) ?? (await changeGroup(deps, group, gathering));
  if ('left' in ended) void performEach(deps, ended.left);
  else await refuseEach(deps, group, ended.failure);
}

/** Never throws: each request is told by itself. */
async function performEach(deps: DomainDeps, group: readonly Waiting[]): Promise<void> {
  await Promise.all(group.map(({ caller, ask, resolve, reject }) => perform(deps, caller, ask).then(resolve, reject)));
}

async function refuseEach(deps: DomainDeps, group: readonly Waiting[], cause: unknown): Promise<void> {
  const error = toFluxError(cause);
  await Promise.all(group.map(({ caller, ask }) => recordRefusal(deps, caller, ask, error)));
  for (const { reject } of group) reject(error);
}

/** Those of a group that have to be performed by themselves; or what failed, when nobody knows what was done. */
type Ended = { left: readonly Waiting[] } | { failure: unknown };

/**
 * Does in one round trip what can be foreseen.
 *
 * @returns null when nothing was done: something is not known, or not as it was foreseen
 */
async function changeAtOnce(
  deps: DomainDeps,
  line: Line,
  group: readonly Waiting[],
  gathering: AnyGathering,
): Promise<Ended | null> {
  const [first] = group as [Waiting];
  const keys = group.flatMap(({ identity }) => identity.key ?? []);
  const foresee = new Set(keys).size === keys.length ? gathering.foresee(group) : null;
  if (foresee === null) return null;
  if (line.unforeseen > 0) {
    line.unforeseen -= 1;
    return null;
  }
  let ending: Ending<unknown>;
  try {
    ending = await inTenantAtOnce(deps.pool, first.caller.sealed(), () => planAtOnce(group, gathering, foresee()));
  } catch (cause) {
    // Whoever is asked again does not answer either.
    if (isFluxError(cause, 'UNAVAILABLE')) return { left: group };
    if ((cause as { code?: unknown } | null)?.code === notAsForeseen) {
      line.surprises = Math.min(line.surprises + 1, surprisesMax);
      line.unforeseen = 2 ** line.surprises - 1;
    }
    return null;
  }
  line.surprises = 0;
  if ('unknown' in ending) return { failure: ending.unknown };
  tellEach(group, ending.committed);
  return { left: [] };
}

/** All that a group is to write, with nothing asked. @throws as `plan`, and when something has to be asked */
async function planAtOnce(
  group: readonly Waiting[],
  gathering: AnyGathering,
  { read, guard }: Foreseen<unknown>,
): Promise<Statements<unknown>> {
  const [first] = group as [Waiting];
  const { changes, statements, values } = await gathering.plan(nobodyAnswers, read, group);
  const keys = group.flatMap(({ identity }) => identity.key ?? []);
  const guards = [guard, ...(keys.length === 0 ? [] : [newKeysGuard(first.ask.action, keys)])];
  return {
    statements: [...guards, ...statements, ...keptResults(group, changes)],
    values: (answers) => values(answers.slice(guards.length)),
  };
}

const nobodyAnswers: Queryable = { query: () => Promise.reject(new Error('expected to need no answer')) };

/** Reads what the group needs, and then writes: two round trips. */
async function changeGroup(deps: DomainDeps, group: readonly Waiting[], gathering: AnyGathering): Promise<Ended> {
  const [first] = group as [Waiting];
  let members: readonly Waiting[] = [];
  let values: unknown[];
  try {
    const ending = await inTenantToEnd(deps.pool, first.caller.sealed(), async (tx) => {
      const [free, read] = await together(
        tx,
        () => withFreeKeys(tx, group),
        () => gathering.read(tx, group),
      );
      if (free.length === 0) return null;
      const { changes, statements, values: valuesOf } = await gathering.plan(tx, read, free);
      members = free;
      return { statements: [...statements, ...keptResults(free, changes)], values: valuesOf };
    });
    if (ending === null) return { left: group };
    if ('unknown' in ending) return { failure: ending.unknown };
    values = ending.committed;
  } catch {
    return { left: group };
  }
  tellEach(members, values);
  return { left: group.filter((one) => !members.includes(one)) };
}

function tellEach(members: readonly Waiting[], values: readonly unknown[]): void {
  members.forEach(({ caller, resolve }, i) => {
    caller.recorded?.();
    resolve({ value: values[i], repeated: false });
  });
}

/** Those without a key, and those whose key is new and in nobody's hands. Who repeats a request must not keep others waiting. */
async function withFreeKeys(tx: Connection, group: readonly Waiting[]): Promise<Waiting[]> {
  const keyed = new Map<string, Waiting>();
  for (const one of group) {
    const { key } = one.identity;
    if (key !== null && !keyed.has(key)) keyed.set(key, one);
  }
  const unkeyed = group.filter(({ ask }) => ask.idempotencyKey === null);
  if (keyed.size === 0) return unkeyed;
  const { action } = (group[0] as Waiting).ask;
  const keys = [...keyed.keys()];
  const [locked, known] = await together(
    tx,
    () =>
      tryLockNames(
        tx,
        'idempotency',
        keys.map((key) => `${action}/${key}`),
      ),
    () => findFirstResults(tx, action, keys), // sees what was committed before the locks were given
  );
  const free = keys.filter((key, i) => locked[i] === true && !known.has(key));
  return [...unkeyed, ...free.map((key) => keyed.get(key) as Waiting)];
}

/** What keeps the members' keys and writes their audit entries. */
function keptResults(members: readonly Waiting[], changes: readonly Omit<Change<unknown>, 'value'>[]): Sql[] {
  const results = members.flatMap(({ ask, identity: { key, requestSha256 } }, i) => {
    const { reference } = changes[i] as Omit<Change<unknown>, 'value'>;
    return key === null ? [] : [{ operation: ask.action, key, requestSha256, result: reference }];
  });
  const entries = members.map(({ caller, ask }, i) =>
    successOf(caller, ask, changes[i] as Omit<Change<unknown>, 'value'>),
  );
  return [...(results.length === 0 ? [] : [firstResultsInsert(results)]), auditsStatement(entries)];
}
