import { FluxError } from '../errors.ts';

/**
 * Reads JSON text that will be hashed or registered. Two readers may disagree about a repeated key or about `__proto__`,
 * so a document that holds either means two things at once; it is refused.
 *
 * @throws INVALID_INPUT not JSON, a repeated key, or a key `__proto__`, with the line
 */
export function parseStrictJson(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new FluxError('INVALID_INPUT', `Expected JSON, found something else (${(cause as Error).message}).`, {
      cause,
    });
  }
  refuseAmbiguousKeys(text);
  return value;
}

/** Walks text that JSON.parse has accepted, so only strings and brackets matter. */
function refuseAmbiguousKeys(text: string): void {
  const token = /"(?:[^"\\]|\\.)*"|[{}[\]:]/g;
  const open: (Set<string> | null)[] = [];
  let lastString: { text: string; at: number } | null = null;
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    const found = match[0];
    if (found.startsWith('"')) lastString = { text: found, at: match.index };
    else if (found === '{') open.push(new Set());
    else if (found === '[') open.push(null);
    else if (found === ':' && lastString !== null) addKey(open.at(-1), lastString, text);
    else open.pop();
  }
}

function addKey(keys: Set<string> | null | undefined, key: { text: string; at: number }, text: string): void {
  const name = JSON.parse(key.text) as string;
  const line = text.slice(0, key.at).split('\n').length;
  if (name === '__proto__') {
    throw new FluxError(
      'INVALID_INPUT',
      `The key __proto__ stands in line ${line}; readers disagree about it. Use another name.`,
    );
  }
  if (keys?.has(name) === true) {
    throw new FluxError(
      'INVALID_INPUT',
      `The key ${key.text} stands twice in one object (again in line ${line}). Keep one.`,
    );
  }
  keys?.add(name);
}
