/**
 * Reads CSV as Postgres does: an empty unquoted field is null. A regular expression a field, so that it shares nothing with
 * the splitter that it is held against.
 */
export function parseCsv(text: string, delimiter = ','): (string | null)[][] {
  const rows: (string | null)[][] = [];
  const separator = delimiter === '|' ? '\\|' : delimiter;
  const field = new RegExp(
    `(?:"((?:[^"]|"")*)"|([^"${separator}\\r\\n][^${separator}\\r\\n]*|))(${separator}|\\r?\\n|$)`,
    'gy',
  );
  let row: (string | null)[] = [];
  while (field.lastIndex < text.length || row.length > 0) {
    const match = field.exec(text);
    if (match === null)
      throw new Error(`not CSV at ${field.lastIndex}: ${text.slice(field.lastIndex, field.lastIndex + 40)}`);
    const [, quoted, plain, end] = match;
    row.push(quoted !== undefined ? quoted.replaceAll('""', '"') : plain === '' ? null : (plain ?? null));
    if (end === delimiter) continue;
    rows.push(row);
    row = [];
    if (end === '') break;
  }
  return rows;
}
