/** So many lines are kept as text; then the browser keeps them as a blob, which need not be memory. */
const linesPerPart = 5_000;

export interface LineFile {
  content: Blob;
  lines: number;
}

/**
 * A file of every row that comes, however many there are. It rejects as `rows` does, and then there is no file: half of a log looks like a whole one.
 *
 * @param lineOf a row's line with its end
 * @param onCount told how many lines there are, now and then and at the end
 */
export async function lineFile<Row>(
  rows: AsyncIterable<Row>,
  lineOf: (row: Row) => string,
  onCount: (lines: number) => void,
): Promise<LineFile> {
  const parts: Blob[] = [];
  let part: string[] = [];
  let lines = 0;
  for await (const row of rows) {
    part.push(lineOf(row));
    lines += 1;
    if (part.length < linesPerPart) continue;
    parts.push(new Blob(part));
    part = [];
    onCount(lines);
  }
  onCount(lines);
  return { content: new Blob([...parts, ...part]), lines };
}
