import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * What the sample pipelines (schemas/v1/samples) do to the files of the package vega-datasets 3.2.1. The counts were taken
 * by readers that share nothing with Flux: Python's csv and json with each rule of the contract written out by hand, and for
 * Parquet a DuckDB query. read = written + rejected + filtered. A record is rejected before it can be filtered.
 */
export interface SamplePipeline {
  agency: string;
  pipeline: string;
  contract: string;
  read: number;
  written: number;
  rejected: number;
  filtered: number;
  /** Source record numbers, from 1, of the first rejected records; of all of them where there are at most 20. */
  firstRejected: readonly number[];
  /** What the publisher's own dirt is, or what the filter leaves out. */
  why: string;
}

export const samplePipelines: readonly SamplePipeline[] = [
  {
    agency: 'nasa',
    pipeline: 'global-temperature',
    contract: 'global-temperature',
    ...{ read: 144, written: 144, rejected: 0, filtered: 0 },
    firstRejected: [],
    why: 'The series 1880 to 2023 is complete.',
  },
  {
    agency: 'noaa',
    pipeline: 'daily-weather',
    contract: 'daily-weather',
    ...{ read: 2_922, written: 2_922, rejected: 0, filtered: 0 },
    firstRejected: [],
    why: 'Two stations on 1,461 days each; nothing beyond the records of the instruments.',
  },
  {
    agency: 'noaa',
    pipeline: 'hourly-normals',
    contract: 'hourly-normals',
    ...{ read: 8_759, written: 8_759, rejected: 0, filtered: 0 },
    firstRejected: [],
    why: 'The hours of the nominal year 2010 without the first one, which the file lacks.',
  },
  {
    agency: 'usgs',
    pipeline: 'earthquakes',
    contract: 'seismic-event',
    ...{ read: 1_707, written: 1_679, rejected: 0, filtered: 28 },
    firstRejected: [],
    why: 'Filtered are 15 explosions and 13 quarry blasts.',
  },
  {
    agency: 'faa',
    pipeline: 'wildlife-strikes',
    contract: 'wildlife-strike',
    ...{ read: 10_000, written: 9_171, rejected: 15, filtered: 814 },
    firstRejected: [300, 442, 599, 649, 1494, 2544, 3382, 5271, 5754, 7408, 7964, 8364, 8646, 9492, 9882],
    why:
      'Damage codes C (14) and B (1) are in no FAA document. All 15 have a military operator; of the 829 military reports ' +
      'the other 814 are filtered.',
  },
  {
    agency: 'faa',
    pipeline: 'airports',
    contract: 'airport',
    ...{ read: 3_376, written: 3_364, rejected: 12, filtered: 0 },
    firstRejected: [1137, 1716, 2252, 2313, 2753, 2760, 2795, 2796, 2901, 2965, 3002, 3356],
    why: 'City and state are the text NA; four of the twelve lie in Thailand, Palau, Micronesia and the Northern Marianas.',
  },
  {
    agency: 'bts',
    pipeline: 'flights',
    contract: 'flight',
    ...{ read: 3_000_000, written: 2_999_997, rejected: 3, filtered: 0 },
    firstRejected: [515_378, 869_089, 949_802],
    why: 'Arrivals 212, 953 and 1,116 minutes before schedule: days counted wrongly at midnight.',
  },
  {
    agency: 'bls',
    pipeline: 'county-unemployment',
    contract: 'county-unemployment',
    ...{ read: 3_218, written: 2_904, rejected: 314, filtered: 0 },
    firstRejected: [1, 2, 3, 4, 5],
    why: 'County codes of the states 01 to 09 have lost their leading zero (1001 for 01001).',
  },
  {
    agency: 'bls',
    pipeline: 'industry-unemployment',
    contract: 'industry-unemployment',
    ...{ read: 1_708, written: 1_708, rejected: 0, filtered: 0 },
    firstRejected: [],
    why: 'Fourteen industries in 122 months each.',
  },
];

export const sampleAgencies = ['nasa', 'noaa', 'usgs', 'faa', 'bts', 'bls'] as const;

/** The folder that the samples' connections read: what an operator allows the six agencies. */
export const sampleDataFolder = fileURLToPath(new URL('../../node_modules/vega-datasets/data', import.meta.url));

const samplesFolder = new URL('../../schemas/v1/samples/', import.meta.url);

export function sampleManifest(agency: string): unknown {
  return read(`agencies/${agency}.json`);
}

/** The agency's connections; `roots` are those of the file, which are relative, unless a folder is given. */
export function sampleConnections(agency: string, root?: string): Record<string, unknown>[] {
  return namesIn(`connections/${agency}`).map((name) => {
    const connection = read(`connections/${agency}/${name}`) as Record<string, unknown>;
    return root === undefined ? connection : { ...connection, config: { roots: [root] } };
  });
}

/** Contract documents by their name, which is the file's. */
export function sampleContract(agency: string, name: string): unknown {
  return read(`contracts/${agency}/${name}.json`);
}

export function samplePipelineDefinition(agency: string, name: string): unknown {
  return read(`pipelines/${agency}/${name}.json`);
}

/** Names of the documents of a kind that an agency has, without `.json`. */
export function sampleNames(kind: 'connections' | 'contracts' | 'pipelines', agency: string): string[] {
  return namesIn(`${kind}/${agency}`).map((name) => name.replace(/[.]json$/, ''));
}

function namesIn(folder: string): string[] {
  return readdirSync(new URL(folder, samplesFolder)).sort();
}

function read(path: string): unknown {
  return JSON.parse(readFileSync(new URL(path, samplesFolder), 'utf8'));
}
