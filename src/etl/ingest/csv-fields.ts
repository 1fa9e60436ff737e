import type { CsvDialect } from './csv-splitter.ts';

/** The same record with each escaped quote written twice, as RFC 4180 has it; itself where nothing is escaped. @param record not at fault */
export function withoutEscapes(record: Buffer, { delimiter, quote, escape = null }: CsvDialect): Buffer {
  if (escape === null || quote === null || !record.includes(escape)) return record;
  const separator = delimiter.charCodeAt(0);
  const mark = quote.charCodeAt(0);
  const escapeByte = escape.charCodeAt(0);
  // What is escaped becomes at most as long.
  const made = Buffer.allocUnsafe(record.length);
  let used = 0;
  let quoted = false;
  let fieldBegins = true;
  for (let at = 0; at < record.length; at += 1) {
    const byte = record[at] as number;
    const next = record[at + 1];
    if (quoted && byte === escapeByte && (next === mark || next === escapeByte)) {
      at += 1;
      if (next === mark) made[used++] = mark;
      made[used++] = next === mark ? mark : escapeByte;
      continue;
    }
    if (byte === mark && (quoted || fieldBegins)) quoted = !quoted;
    fieldBegins = !quoted && byte === separator;
    made[used++] = byte;
  }
  return made.subarray(0, used);
}

/** The fields of one record that is not at fault, and has no escapes. */
export function parseCsvFields(record: string, dialect: CsvDialect): string[] {
  const { delimiter, quote } = dialect;
  const fields: string[] = [];
  let at = 0;
  for (;;) {
    if (quote !== null && record[at] === quote) {
      let value = '';
      let from = at + 1;
      for (;;) {
        const found = record.indexOf(quote, from);
        const closing = found === -1 ? record.length : found;
        value += record.slice(from, closing);
        from = closing + 2;
        if (record[closing + 1] !== quote) {
          at = closing + 1;
          break;
        }
        value += quote;
      }
      fields.push(value);
    } else {
      const found = record.indexOf(delimiter, at);
      const end = found === -1 ? record.length : found;
      fields.push(record.slice(at, end));
      at = end;
    }
    if (at >= record.length) return fields;
    at += 1;
  }
}
