/**
 * What PostgreSQL can store of a text: NUL, which its text type has no place for, becomes U+2400, and half a surrogate pair
 * U+FFFD. A record that broke its contract may hold either, and must be kept and reported all the same.
 */
export function storableText(text: string): string {
  return text.replaceAll('\0', '\u2400').toWellFormed();
}

/** How JSON.stringify writes what is not storable, and a backslash in front of what looks like it. */
const perhapsUnstorable = /\\u(?:0000|d[89a-f])/;

/** JSON for a jsonb parameter, its texts storable. */
export function toJsonb(value: unknown): string {
  const json = JSON.stringify(value);
  // To look at each text by itself takes several times as long, and next to none is unstorable.
  if (!perhapsUnstorable.test(json)) return json;
  return JSON.stringify(value, (_key, part: unknown) => (typeof part === 'string' ? storableText(part) : part));
}
