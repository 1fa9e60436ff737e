import type { EvolvedField } from '../evolved-contract.ts';

/** Collects the fields of records that are parsed, and the types of JSON that their values have. */
export class FoundTypes {
  readonly #known: ReadonlySet<string>;
  readonly #types = new Map<string, Set<string>>();

  constructor(known: readonly string[]) {
    this.#known = new Set(known);
  }

  add(record: unknown): void {
    if (typeof record !== 'object' || record === null || Array.isArray(record)) return;
    for (const [name, value] of Object.entries(record)) {
      if (this.#known.has(name)) continue;
      const types = this.#types.get(name) ?? new Set();
      types.add(typeOf(value));
      this.#types.set(name, types);
    }
  }

  /** In the order in which they were met. */
  get fields(): EvolvedField[] {
    return [...this.#types].map(([name, types]) => ({ name, schema: schemaOf(types) }));
  }
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value !== 'number') return typeof value;
  // What a double cannot hold as it is written stays JSON, which keeps every digit.
  if (!Number.isFinite(value) || Math.abs(value) > Number.MAX_SAFE_INTEGER) return 'object';
  return Number.isInteger(value) ? 'integer' : 'number';
}

function schemaOf(types: ReadonlySet<string>): EvolvedField['schema'] {
  const kinds = [...types].filter((type) => type !== 'null');
  if (kinds.length === 0) return { type: ['string', 'null'] };
  if (kinds.length === 2 && kinds.includes('integer') && kinds.includes('number')) return { type: ['number', 'null'] };
  const [only] = kinds;
  return kinds.length > 1 || only === 'object' ? {} : { type: [only, 'null'] };
}
