import type { RecordColumn } from './columns.ts';

/**
 * Makes the record that Ajv sees from a row's values in column order. A null is left out unless the contract both demands the
 * property and allows null; so is an object none of whose members is there.
 */
export function assembleRecord(columns: readonly RecordColumn[], values: readonly unknown[]): Record<string, unknown> {
  const record: Record<string, unknown> = {};
  for (const [at, { field }] of columns.entries()) {
    const value = values[at] ?? null;
    if (field === null || (value === null && !(field.required && field.nullAllowed))) continue;
    setAt(record, field.path, value);
  }
  return record;
}

/** Puts a value into a record, with the objects around it. */
export function setAt(record: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let object = record;
  for (const name of path.slice(0, -1)) {
    const inner = Object.hasOwn(object, name) ? object[name] : undefined;
    if (typeof inner === 'object' && inner !== null) object = inner as Record<string, unknown>;
    else {
      const made: Record<string, unknown> = {};
      define(object, name, made);
      object = made;
    }
  }
  define(object, path.at(-1) ?? '', value);
}

/** A plain assignment to `__proto__` would change the object instead. */
function define(object: Record<string, unknown>, name: string, value: unknown): void {
  Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
}
