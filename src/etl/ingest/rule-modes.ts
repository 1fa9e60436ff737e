import type { RecordCheck } from '../../contracts/contract.ts';
import { pointerStep } from '../../contracts/issues.ts';
import type { Issue } from '../../errors.ts';
import { maskText } from '../../personal-data/mask.ts';
import type { PipelineDefinition, RejectedRecord } from '../engine-types.ts';
import type { ContractField } from './contract-model.ts';

/** What a broken rule does: stop the run, reject the record, or leave the value out. */
export type RuleMode = 'freeze' | 'quarantine' | 'drop_value';

/** A rule as a pipeline names it; `rule` absent means every rule there. */
interface NamedRule {
  path: string;
  rule?: string;
  /** evolve is done before any record is judged: what is refused here is in no way new. */
  mode: RuleMode | 'evolve';
}

/** Values that were left out of good records, by the rule that they broke. */
export interface DroppedValues {
  path: string;
  rule: string;
  count: number;
}

/**
 * Which mode each rule of a contract has: the first of the pipeline's `rules` that names it, or else `onViolation`. Only a value that its
 * record can do without is left out; a broken rule about another rejects the record.
 */
export class RuleModes {
  readonly #rules: readonly (NamedRule & { mode: RuleMode })[];
  readonly #otherwise: RuleMode;

  constructor(contract: PipelineDefinition['contract']) {
    this.#rules = (contract?.rules ?? []).filter(
      (rule): rule is NamedRule & { mode: RuleMode } => rule.mode !== 'evolve',
    );
    const mode = contract?.onViolation ?? 'quarantine';
    // `fail` is what freeze was called first.
    this.#otherwise = mode === 'fail' ? 'freeze' : (mode as RuleMode);
  }

  /** Whether any rule at all leaves values out. */
  get someDrop(): boolean {
    return this.#otherwise === 'drop_value' || this.#rules.some(({ mode }) => mode === 'drop_value');
  }

  /** The first of the rejected records that stops the run, with the rule that does; null when none does. */
  firstFrozen(rejected: readonly RejectedRecord[]): { recordNo: number; path: string; rule: string } | null {
    const found = rejected.flatMap(({ recordNo, reasons }) => {
      const reason = reasons.find(({ path, rule }) => this.#modeOf(path, rule) === 'freeze');
      return reason ? [{ recordNo, path: maskText(reason.path), rule: reason.rule }] : [];
    });
    return found.sort((one, other) => one.recordNo - other.recordNo)[0] ?? null;
  }

  /** Whether a broken rule takes away the field's value, not the record. */
  drops({ pointer, required, nullAllowed }: ContractField, rule: string, path = pointer): boolean {
    return (!required || nullAllowed) && rule !== 'required' && this.#modeOf(path, rule) === 'drop_value';
  }

  #modeOf(path: string, rule: string): RuleMode {
    const named = this.#rules.find(
      (each) =>
        (each.path === path && (each.rule === undefined || each.rule === rule)) ||
        // Such a rule is the object's, and is shown at the property.
        (rule === 'additionalProperties' && each.rule === rule && path.slice(0, path.lastIndexOf('/')) === each.path),
    );
    return named?.mode ?? this.#otherwise;
  }
}

/** A record that meets the contract without some of its values. */
export interface Mended {
  /** JSON Pointers of the fields whose values were left out. */
  pointers: readonly string[];
  rules: readonly { path: string; rule: string }[];
}

/**
 * Leaves out the values that broke a rule, where each of them may be.
 *
 * @returns null where one may not, or where the record is still refused without them
 */
export function mendRecord(
  record: unknown,
  issues: readonly Issue[],
  { modes, fields, check }: { modes: RuleModes; fields: readonly ContractField[]; check: RecordCheck },
): Mended | null {
  if (!modes.someDrop) return null;
  const places = issues.map(({ path, rule }) => {
    const field = fields.find(({ pointer }) => path === pointer || path.startsWith(`${pointer}/`));
    return field && modes.drops(field, rule, path) ? { field, rule } : null;
  });
  if (places.some((place) => place === null)) return null;
  const mended = places as NonNullable<(typeof places)[number]>[];
  const without = structuredClone(record);
  for (const { field } of mended) leaveOut(without, field);
  if (check(without).length > 0) return null;
  return {
    pointers: mended.map(({ field }) => field.pointer),
    rules: mended.map(({ field, rule }) => ({ path: field.pointer, rule })),
  };
}

function leaveOut(record: unknown, { path, required }: ContractField): void {
  const name = path.at(-1) ?? '';
  let at = record as Record<string, unknown> | undefined;
  for (const step of path.slice(0, -1)) at = at?.[step] as Record<string, unknown> | undefined;
  if (typeof at !== 'object' || at === null || !Object.hasOwn(at, name)) return;
  // What must be there may be null, or it could not be left out.
  if (required) at[name] = null;
  else delete at[name];
}

/** Adds up what was left out, in the order in which it was met. */
export class DroppedCounts {
  readonly #counts = new Map<string, DroppedValues>();

  add({ path, rule }: { path: string; rule: string }, count = 1): void {
    if (count === 0) return;
    const key = `${path}${pointerStep(rule)}`;
    const seen = this.#counts.get(key) ?? { path, rule, count: 0 };
    this.#counts.set(key, { ...seen, count: seen.count + count });
  }

  take(): DroppedValues[] {
    const all = [...this.#counts.values()];
    this.#counts.clear();
    return all;
  }
}
