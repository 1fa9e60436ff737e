import type { PackageFacts } from './package-facts.ts';

interface Transform {
  type: string;
  columns?: Record<string, string>;
  hash?: string[];
  redact?: string[];
  generalise?: Record<string, { band?: number; date?: string }>;
}

/**
 * The columns whose values are not the source's, because a pipeline masked them before it loaded them, and how. Where the pipelines of the loads
 * differ, all that was done is named, and may stand for some of the records only.
 */
export function maskedColumns({ pipelines, columns }: PackageFacts): Map<string, string> {
  const found = new Map<string, Set<string>>();
  for (const { definition } of pipelines) {
    const { transforms = [] } = JSON.parse(definition) as { transforms?: Transform[] };
    for (const [column, ways] of maskedBy(transforms)) {
      found.set(column, new Set([...(found.get(column) ?? []), ...ways]));
    }
  }
  return new Map(
    columns.flatMap(({ name }): [string, string][] => {
      const ways = found.get(name);
      return ways ? [[name, [...ways].sort().join(', ')]] : [];
    }),
  );
}

function maskedBy(transforms: readonly Transform[]): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  const note = (column: string, how: string): void => {
    found.set(column, (found.get(column) ?? new Set()).add(how));
  };
  for (const { type, columns = {}, hash = [], redact = [], generalise = {} } of transforms) {
    if (type === 'rename') {
      const moved = Object.entries(columns).map(([from, to]) => [from, to, found.get(from)] as const);
      for (const [from] of moved) found.delete(from);
      for (const [, to, ways] of moved) if (ways) found.set(to, ways);
    }
    if (type !== 'sterilise') continue;
    for (const column of hash) note(column, 'hashed');
    for (const column of redact) note(column, 'redacted');
    for (const [column, { band, date }] of Object.entries(generalise)) {
      note(column, band === undefined ? `generalised to the ${date ?? 'period'}` : `generalised by ${String(band)}`);
    }
  }
  return found;
}
