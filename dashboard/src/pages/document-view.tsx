/** The lines of two versions of a document, those that only one of them has marked. */
export interface DiffLine {
  mark: ' ' | '-' | '+';
  text: string;
}

const linesMax = 2_000;

/** The shortest way from one text to another, by its lines (longest common subsequence). */
export function diffLines(before: string, after: string): DiffLine[] {
  const [a, b] = [before.split('\n').slice(0, linesMax), after.split('\n').slice(0, linesMax)];
  const lengths = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      const [row, below] = [lengths[i], lengths[i + 1]];
      if (!row || !below) continue;
      row[j] = a[i] === b[j] ? (below[j + 1] ?? 0) + 1 : Math.max(below[j] ?? 0, row[j + 1] ?? 0);
    }
  }
  const lines: DiffLine[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push({ mark: ' ', text: a[i] ?? '' });
      i += 1;
      j += 1;
    } else if (j >= b.length || (i < a.length && (lengths[i + 1]?.[j] ?? 0) >= (lengths[i]?.[j + 1] ?? 0))) {
      lines.push({ mark: '-', text: a[i] ?? '' });
      i += 1;
    } else {
      lines.push({ mark: '+', text: b[j] ?? '' });
      j += 1;
    }
  }
  return lines;
}

/** A document as JSON; beside an older version, what changed. */
export function DocumentView({ title, document, before }: { title: string; document: unknown; before?: unknown }) {
  const text = JSON.stringify(document, null, 2);
  const lines = before === undefined ? null : diffLines(JSON.stringify(before, null, 2), text);
  return (
    <figure className="document">
      <figcaption>{title}</figcaption>
      <pre tabIndex={0} aria-label={title} role="region">
        {lines
          ? lines.map(({ mark, text: line }, i) => (
              <span key={i} className={mark === '+' ? 'diff diff--more' : mark === '-' ? 'diff diff--less' : 'diff'}>
                {`${mark} ${line}\n`}
              </span>
            ))
          : text}
      </pre>
    </figure>
  );
}
