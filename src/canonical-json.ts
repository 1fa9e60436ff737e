import serialize from 'canonicalize';

/**
 * The RFC 8785 bytes of a value: what is hashed is what is stored. Properties that are undefined are left out; a bigint must
 * have become a number or a string before.
 *
 * @throws TypeError the value is not JSON (a bigint, a function, a lone surrogate, NaN)
 */
export function canonicalBytes(value: unknown): Buffer {
  let text: string | undefined;
  try {
    text = serialize(value);
  } catch (cause) {
    throw new TypeError('expected a JSON value to canonicalise', { cause });
  }
  // Half a surrogate pair has no UTF-8: two different texts would get the same bytes.
  if (text === undefined || !text.isWellFormed()) {
    throw new TypeError('expected a JSON value of valid Unicode to canonicalise');
  }
  return Buffer.from(text, 'utf8');
}
