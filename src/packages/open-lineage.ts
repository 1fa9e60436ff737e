import type { PackagedLoad, PackageFacts } from './package-facts.ts';

const producer = 'urn:flux-etl';

/**
 * Where the records come from, as OpenLineage run events (2-0-2): one COMPLETE for each load, in their order. Inputs are the pinned bytes, named by
 * their SHA-256, and the datasets that were joined. A source's path is not told: it says more of the agency's systems than of the data.
 */
export function openLineage(facts: PackageFacts): object[] {
  return facts.loads.map((load) => ({
    eventType: 'COMPLETE',
    eventTime: load.publishedAt.toISOString(),
    run: { runId: load.runId },
    job: { namespace: `flux://${facts.agency}`, name: `${load.pipeline}.v${String(load.pipelineVersion)}` },
    inputs: inputsOf(facts, load),
    outputs: [outputOf(facts, load)],
    producer,
    schemaURL: 'https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent',
  }));
}

function inputsOf({ agency, pipelines }: PackageFacts, load: PackagedLoad): object[] {
  const { source, pipeline, pipelineVersion } = load;
  const pinned = source && {
    namespace: `flux://${agency}/connections/${source.connection}`,
    name: `sha256:${source.sha256}`,
  };
  const known = pipelines.find(({ name, version }) => name === pipeline && version === pipelineVersion);
  const { transforms = [] } = JSON.parse(known?.definition ?? '{}') as {
    transforms?: { type: string; dataset?: string }[];
  };
  const joined = transforms.flatMap(({ type, dataset }) => (type === 'join' && dataset ? [dataset] : []));
  return [
    ...(pinned ? [pinned] : []),
    ...[...new Set(joined)].map((name) => ({ namespace: `flux://${agency}/lake`, name })),
  ];
}

function outputOf({ agency, dataset, columns }: PackageFacts, { loadNo, written }: PackagedLoad): object {
  return {
    namespace: `flux://${agency}/lake`,
    name: dataset,
    facets: {
      schema: {
        ...facet('SchemaDatasetFacet', '1-0-0'),
        fields: columns.map(({ name, type }) => ({ name, type })),
      },
      version: versionOf(`load ${String(loadNo)}`),
    },
    outputFacets: {
      outputStatistics: { ...facet('OutputStatisticsOutputDatasetFacet', '1-0-2'), rowCount: Number(written) },
    },
  };
}

function versionOf(datasetVersion: string): object {
  return { ...facet('DatasetVersionDatasetFacet', '1-0-0'), datasetVersion };
}

function facet(name: string, version: string): { _producer: string; _schemaURL: string } {
  return {
    _producer: producer,
    _schemaURL: `https://openlineage.io/spec/facets/${version}/${name}.json#/$defs/${name}`,
  };
}
