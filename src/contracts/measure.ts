import type { Issue } from '../errors.ts';
import { pointerStep } from './issues.ts';

/**
 * Walks a value before anything recursive touches it: no deeper than `depthMax` containers, plain JSON only, and no key
 * `__proto__`, which some readers take for the prototype and others for a property. Gives the first issue, or null.
 */
export function measure(document: unknown, depthMax: number): { issue: Issue | null } {
  const open: { value: unknown; path: string; depth: number }[] = [{ value: document, path: '', depth: 0 }];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    const { value, path, depth } = at;
    if (value === null || typeof value !== 'object') continue;
    if (depth === depthMax)
      return { issue: { path, rule: 'maxDepth', message: `lies deeper than ${depthMax} levels` } };
    if (!isPlain(value)) return { issue: { path, rule: 'type', message: 'is not plain JSON' } };
    for (const [name, child] of Object.entries(value)) {
      if (name === '__proto__') return { issue: { path, rule: 'propertyNames', message: 'holds the key __proto__' } };
      open.push({ value: child, path: path + pointerStep(name), depth: depth + 1 });
    }
  }
  return { issue: null };
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype || Array.isArray(value);
}
