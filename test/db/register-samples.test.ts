import { readdir, readFile } from 'node:fs/promises';

import { describe, expect, it } from 'vitest';

import { classifications } from '../../src/auth/principal.ts';
import { validateAgencyManifest } from '../../src/contracts/documents.ts';
import { registerConnection } from '../../src/domain/register-connection.ts';
import { registerContract } from '../../src/domain/register-contract.ts';
import { registerPipeline } from '../../src/domain/register-pipeline.ts';
import { startRun } from '../../src/domain/start-run.ts';
import { contextOf } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();
const samples = new URL('../../schemas/v1/samples/', import.meta.url);
const asked = { reason: null, idempotencyKey: null };

interface Sample {
  name: string;
  document: unknown;
}

/** The documents of a folder, each with its file's name. */
async function documentsIn(folder: string): Promise<Sample[]> {
  const files = (await readdir(new URL(folder, samples))).filter((file) => file.endsWith('.json')).sort();
  return Promise.all(
    files.map(async (file) => ({
      name: file.replace(/\.json$/, ''),
      document: JSON.parse(await readFile(new URL(`${folder}${file}`, samples), 'utf8')) as unknown,
    })),
  );
}

const agencies = await documentsIn('agencies/');

describe('the samples', () => {
  it.each(agencies.map(({ name, document }) => [name, document] as const))(
    'of %s can be registered and run as they are',
    async (slug, document) => {
      const manifest = validateAgencyManifest(document);
      await database.addAgency(slug, {
        supportedContentTypes: manifest.supported_content_types,
        supportedUseCases: manifest.supported_use_cases,
        dataClassification: classifications.indexOf(manifest.data_classification),
      });
      const admin = contextOf(database, slug, { role: 'admin', clearance: 5 });
      for (const { document: definition } of await documentsIn(`connections/${slug}/`)) {
        await registerConnection(admin.api, admin, { definition, ...asked });
      }
      for (const { name, document: contract } of await documentsIn(`contracts/${slug}/`)) {
        await registerContract(admin.api, admin, { name, document: contract, ...asked });
      }
      const pipelines = await documentsIn(`pipelines/${slug}/`);
      expect(pipelines).not.toEqual([]);
      for (const { document: definition } of pipelines) {
        const { name } = await registerPipeline(admin.api, admin, { definition, ...asked });
        const input = { pipeline: name, payload: null, stage: null, dryRun: null, metadata: null, ...asked };
        expect(await startRun(admin.api, admin, input)).toMatchObject({ pipelineName: name, status: 'PENDING' });
      }
    },
  );
});
