/**
 * Members of a JSON object under one name: what they mean together is nowhere said (RFC 8259, section 4), and every reader keeps another of them.
 */

/** So many members stand in the value and in what it holds, each name once. */
export function countMembers(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  const held: unknown[] = Array.isArray(value) ? value : Object.values(value);
  let count = Array.isArray(value) ? 0 : held.length;
  for (const each of held) count += countMembers(each);
  return count;
}

const tokens = /"(?:[^"\\]|\\.)*"|[{}:]/g;

/** @param text is JSON. @returns the first name that an object of it has twice; null: none has */
export function repeatedName(text: string): string | null {
  const open: Set<string>[] = [];
  let before = '';
  for (const [token] of text.matchAll(tokens)) {
    if (token === '{') open.push(new Set());
    else if (token === '}') open.pop();
    else if (token === ':') {
      const name = JSON.parse(before) as string;
      const names = open.at(-1);
      if (names?.has(name)) return name;
      names?.add(name);
    }
    before = token;
  }
  return null;
}
