import type { Readable } from 'node:stream';

import { dataDictionary } from './data-dictionary.ts';
import { openLineage } from './open-lineage.ts';
import type { PackageFacts } from './package-facts.ts';
import { Rfc4180 } from './rfc4180.ts';
import { nullText, tableSchema, type TableSchema } from './table-schema.ts';
import { type ZippedFile, zipStream } from './zip-stream.ts';

/** In the order of their levels. */
const markings = ['U', 'CUI', 'C', 'S', 'TS', 'SCI'];

export interface PackagedData {
  facts: PackageFacts;
  /** The records as PostgreSQL's CSV with a header, by load and record; what is not there is written as `nullText` says. */
  records: Readable;
}

export { nullText };

/**
 * A dataset as a Frictionless Data Package (https://datapackage.org, version 2.0) in a ZIP archive:
 *
 *   data/<dataset>.csv        first, so that its size and SHA-256 are known when what names them is written
 *   data-dictionary.md        the columns and loads, for people
 *   lineage.openlineage.json  the runs that wrote it, and what they read
 *   datapackage.json          the descriptor
 *   manifest-sha256.txt       the SHA-256 of each file above, as `sha256sum -c` reads it
 *
 * Equal facts and records give equal bytes. Nothing is held but the descriptor.
 *
 * @param packaged told what the data file came to be, when all of it has passed
 */
export function frictionlessPackage({ facts, records }: PackagedData, packaged: (data: ZippedFile) => void): Readable {
  return zipStream(async (zip) => {
    const csv = records.pipe(new Rfc4180());
    records.on('error', (cause) => csv.destroy(cause));
    csv.on('close', () => records.destroy());
    const data = await zip.add(`data/${facts.dataset}.csv`, csv);
    packaged(data);
    const schema = tableSchema(facts);
    const told = { title: titleOf(facts), marking: markingOf(facts) };
    const files = [
      data,
      await zip.add('data-dictionary.md', dataDictionary(facts, schema, told)),
      await zip.add('lineage.openlineage.json', json(openLineage(facts))),
      await zip.add('datapackage.json', json(descriptorOf(facts, schema, { ...told, data }))),
    ];
    await zip.add('manifest-sha256.txt', files.map(({ path, sha256 }) => `${sha256}  ${path}\n`).join(''));
  });
}

function descriptorOf(
  facts: PackageFacts,
  schema: TableSchema,
  { title, marking, data }: { title: string; marking: string; data: ZippedFile },
): object {
  const { dataset, agency, loads } = facts;
  const useCases = [...new Set(loads.map(({ useCase }) => useCase))].sort();
  return {
    $schema: 'https://datapackage.org/profiles/2.0/datapackage.json',
    name: dataset.replaceAll('_', '-'),
    title,
    description: `The dataset ${dataset} of the agency ${agency}, of ${String(loads.length)} ${loads.length === 1 ? 'load' : 'loads'}.`,
    created: (loads.at(-1)?.publishedAt ?? facts.createdAt).toISOString(),
    ...(useCases.length > 0 ? { keywords: useCases } : {}),
    ...(loads.length > 0 ? { sources: loads.map((load) => sourceOf(load)) } : {}),
    // The highest of the loads that are in it: ours, beside the standard's properties.
    classification: marking,
    resources: [
      {
        $schema: 'https://datapackage.org/profiles/2.0/dataresource.json',
        name: dataset.replaceAll('_', '-'),
        type: 'table',
        path: data.path,
        title,
        format: 'csv',
        mediatype: 'text/csv',
        encoding: 'utf-8',
        bytes: data.bytes,
        hash: `sha256:${data.sha256}`,
        dialect: { header: true, delimiter: ',', lineTerminator: '\r\n', quoteChar: '"', doubleQuote: true },
        schema,
      },
    ],
  };
}

function sourceOf({
  loadNo,
  pipeline,
  pipelineVersion,
  runId,
  publishedAt,
  source,
}: PackageFacts['loads'][number]): object {
  return {
    title: `Load ${String(loadNo)} by the pipeline ${pipeline}`,
    version: String(pipelineVersion),
    load: Number(loadNo),
    run: runId,
    published: publishedAt.toISOString(),
    ...(source ? { connection: source.connection, hash: `sha256:${source.sha256}` } : {}),
  };
}

/** What its newest pipeline is called, where one may know it. */
function titleOf({ dataset, loads, pipelines }: PackageFacts): string {
  const newest = loads.at(-1);
  const found = pipelines.find(({ name, version }) => name === newest?.pipeline && version === newest.pipelineVersion);
  return found?.title ?? dataset;
}

function markingOf({ loads }: PackageFacts): string {
  return markings[Math.max(0, ...loads.map(({ classification }) => classification))] ?? 'U';
}

function json(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
