import type { Issue } from '../errors.ts';
import type { JoinTransform, PipelineDefinition } from './documents.ts';

/** A dataset that a pipeline joins, and what it reads of it: each column once, in the order of their names. */
export interface JoinedDataset {
  dataset: string;
  columns: string[];
}

type Transforms = readonly { type: string }[];

/** The joins among a pipeline's transforms. */
export const joinsOf = (transforms: Transforms = []): JoinTransform[] =>
  transforms.filter((transform): transform is JoinTransform => transform.type === 'join');

/** What the transforms read besides their records, by dataset. */
export function joinedDatasets(transforms: Transforms = []): JoinedDataset[] {
  const joins = joinsOf(transforms);
  const names = [...new Set(joins.map(({ dataset }) => dataset))].sort();
  return names.map((dataset) => {
    const read = joins.filter((join) => join.dataset === dataset);
    return {
      dataset,
      columns: [...new Set(read.flatMap(({ on, columns }) => [...Object.values(on), ...columns]))].sort(),
    };
  });
}

/** The columns that a join adds: the dataset's name of each, and the record's. */
export function joinedColumns({
  columns,
  as = {},
}: Pick<JoinTransform, 'columns' | 'as'>): { from: string; name: string }[] {
  return columns.map((from) => ({ from, name: as[from] ?? from }));
}

/** What is wrong with a pipeline's joins, as far as that can be known before a record is read. */
export function joinIssues({ transforms, destination }: PipelineDefinition): Issue[] {
  const issues: Issue[] = [];
  /** Names that certainly exist in front of a step. */
  let known = new Set<string>();
  for (const [at, transform] of transforms.entries()) {
    const path = `/transforms/${String(at)}`;
    switch (transform.type) {
      case 'join':
        issues.push(...issuesOf(transform, { path, known, destination: destination.dataset }));
        for (const { name } of joinedColumns(transform)) known.add(name);
        break;
      case 'rename':
        for (const from of Object.keys(transform.columns)) known.delete(from);
        for (const to of Object.values(transform.columns)) known.add(to);
        break;
      case 'derive':
        known.add(transform.column);
        break;
      case 'sterilise':
        for (const name of transform.drop ?? []) known.delete(name);
        break;
      case 'aggregate':
        known = new Set([...transform.groupBy, ...Object.keys(transform.measures)]);
        break;
      case 'sql':
        known = new Set();
        break;
      default:
    }
  }
  return issues;
}

function issuesOf(
  join: JoinTransform,
  { path, known, destination }: { path: string; known: ReadonlySet<string>; destination: string },
): Issue[] {
  const issues: Issue[] = [];
  if (join.dataset === destination) {
    const message = `is ${destination}, which the pipeline itself writes; a join reads what another pipeline has loaded`;
    issues.push({ path: `${path}/dataset`, rule: 'join', message });
  }
  for (const from of Object.keys(join.as ?? {})) {
    if (join.columns.includes(from)) continue;
    issues.push({ path: `${path}/as/${from}`, rule: 'join', message: `names ${from}, which is not among the columns` });
  }
  const before = new Set([...known, ...Object.keys(join.on)]);
  const made = joinedColumns(join).map(({ name }) => name);
  for (const [i, name] of made.entries()) {
    const where = `${path}/columns/${String(i)}`;
    if (name.startsWith('_flux_'))
      issues.push({ path: where, rule: 'join', message: `makes ${name}; the prefix _flux_ is Flux's own` });
    else if (before.has(name) || made.indexOf(name) < i)
      issues.push({
        path: where,
        rule: 'join',
        message: `makes ${name}, which the record has already; name it otherwise in as`,
      });
  }
  return issues;
}
