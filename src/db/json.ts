/**
 * What PostgreSQL can store of a text: NUL, which its text type has no place for, becomes U+2400, and half a surrogate pair
 * U+FFFD. A record that broke its contract may hold either, and must be kept and reported all the same.
 */
export function storableText(text: string): string {
  return text.replaceAll('\0', '\u2400').toWellFormed();
}

/** JSON for a jsonb parameter, its texts storable. */
export function toJsonb(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => (typeof part === 'string' ? storableText(part) : part));
}
