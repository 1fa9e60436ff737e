import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { FluxError } from '../../errors.ts';

const folder = path.resolve(import.meta.dirname, '../../../schemas/v1/samples');

/** The sample documents of one agency, as an operator and an admin of it would hand them in. */
export interface AgencySamples {
  slug: string;
  manifest: unknown;
  connections: NamedDocument[];
  contracts: NamedDocument[];
  pipelines: NamedDocument[];
}

export interface NamedDocument {
  name: string;
  document: unknown;
}

export async function readSamples(): Promise<AgencySamples[]> {
  const files = (await readdir(path.join(folder, 'agencies'))).filter((file) => file.endsWith('.json')).sort();
  return Promise.all(
    files.map(async (file) => {
      const slug = path.basename(file, '.json');
      return {
        slug,
        manifest: await readJson(path.join(folder, 'agencies', file)),
        connections: await readFolder('connections', slug),
        contracts: await readFolder('contracts', slug),
        pipelines: await readFolder('pipelines', slug),
      };
    }),
  );
}

/** The folder of the public data that the samples read. @throws UNAVAILABLE the package that ships it is not installed */
export function sampleDataFolder(): string {
  try {
    // The package exports its module alone (build/index.js); the files lie beside it.
    return path.resolve(path.dirname(fileURLToPath(import.meta.resolve('vega-datasets'))), '../data');
  } catch (cause) {
    throw new FluxError(
      'UNAVAILABLE',
      'The demo’s data is the npm package vega-datasets, which is not installed. Run npm ci in a checkout of Flux (with development dependencies).',
      { cause },
    );
  }
}

async function readFolder(kind: string, slug: string): Promise<NamedDocument[]> {
  const files = (await readdir(path.join(folder, kind, slug))).filter((file) => file.endsWith('.json')).sort();
  return Promise.all(
    files.map(async (file) => ({
      name: path.basename(file, '.json'),
      document: await readJson(path.join(folder, kind, slug, file)),
    })),
  );
}

async function readJson(file: string): Promise<unknown> {
  return JSON.parse(await readFile(file, 'utf8')) as unknown;
}
