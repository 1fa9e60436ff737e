import { auditsStatement } from '../audit/append.ts';
import { findFirstResults, firstResultsInsert, tryLockNames } from '../db/idempotency.ts';
import type { Connection, Pool } from '../db/pool.ts';
import type { Sql } from '../db/sql.ts';
import { inTenantToEnd, type Statements, together } from '../db/transaction.ts';
import { toFluxError } from '../errors.ts';
import type { Caller, DomainDeps } from './caller.ts';
import {
  type Ask,
  type Change,
  checkAsk,
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
  plan(tx: Connection, read: Read, members: readonly Member<Checked>[]): Promise<Plan<T>>;
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
  resolve(performed: Performed<unknown>): void;
  reject(error: unknown): void;
}

interface Line {
  waiting: Waiting[];
  underWay: number;
}

/** While one group is being committed the next one forms. Two at once were slower (bench/control-plane.ts): each is smaller, and has its own flush. */
const groupsAtOnce = 1;
/** Of one group; what waits beyond it comes with the next. */
const groupMax = 32;

const lines = new WeakMap<Pool, Map<string, Line>>();

/**
 * As `perform`; requests that come while others of the same agency, role and clearance are under way share a transaction, as a
 * database gathers commits. Nobody waits for others to come: a request that is alone is performed at once.
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
  try {
    checked = checkAsk(ask);
  } catch {
    return perform(deps, caller, ask); // which refuses it again, and records that
  }
  if (!gathering.fits(checked)) return perform(deps, caller, ask);
  const line = lineOf(deps.pool, caller, ask.action);
  return new Promise<Performed<T>>((resolve, reject) => {
    line.waiting.push({ caller, ask, checked, resolve, reject } as unknown as Waiting);
    advance(deps, line, gathering);
  });
}

function lineOf(pool: Pool, { principal }: Caller, action: string): Line {
  const ofPool = lines.get(pool) ?? new Map<string, Line>();
  lines.set(pool, ofPool);
  const name = [action, principal.agency, principal.role, String(principal.clearance)].join('|');
  const line = ofPool.get(name) ?? { waiting: [], underWay: 0 };
  ofPool.set(name, line);
  return line;
}

function advance(deps: DomainDeps, line: Line, gathering: AnyGathering): void {
  while (line.underWay < groupsAtOnce && line.waiting.length > 0) {
    line.underWay += 1;
    void performGroup(deps, line.waiting.splice(0, groupMax), gathering).finally(() => {
      // Behind what the answers have set going: whoever asks for one thing after the other comes with the next group, not the one after.
      setImmediate(() => {
        line.underWay -= 1;
        advance(deps, line, gathering);
      });
    });
  }
}

/** Resolves when the next group may come. What has to be performed by itself may wait for others, and keeps nobody back. */
async function performGroup(deps: DomainDeps, group: readonly Waiting[], gathering: AnyGathering): Promise<void> {
  const ended = await changeGroup(deps, group, gathering);
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

/** @returns those of the group that have to be performed by themselves; or what failed, when nobody knows what was done */
async function changeGroup(
  deps: DomainDeps,
  group: readonly Waiting[],
  gathering: AnyGathering,
): Promise<{ left: readonly Waiting[] } | { failure: unknown }> {
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
  members.forEach(({ caller, resolve }, i) => {
    caller.recorded?.();
    resolve({ value: values[i], repeated: false });
  });
  return { left: group.filter((one) => !members.includes(one)) };
}

/** Those without a key, and those whose key is new and in nobody's hands. Who repeats a request must not keep others waiting. */
async function withFreeKeys(tx: Connection, group: readonly Waiting[]): Promise<Waiting[]> {
  const keyed = new Map<string, Waiting>();
  for (const one of group) {
    const { key } = identityOf(one.ask);
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
  const results = members.flatMap(({ ask }, i) => {
    const { key, requestSha256 } = identityOf(ask);
    const { reference } = changes[i] as Omit<Change<unknown>, 'value'>;
    return key === null ? [] : [{ operation: ask.action, key, requestSha256, result: reference }];
  });
  const entries = members.map(({ caller, ask }, i) =>
    successOf(caller, ask, changes[i] as Omit<Change<unknown>, 'value'>),
  );
  return [...(results.length === 0 ? [] : [firstResultsInsert(results)]), auditsStatement(entries)];
}
