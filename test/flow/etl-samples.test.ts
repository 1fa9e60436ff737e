import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PipelineDefinition } from '../../src/etl/engine-types.ts';
import { type EtlBench, etlBench } from '../support/etl.ts';
import { sampleContract, sampleDataFolder, samplePipelineDefinition, samplePipelines } from '../support/samples.ts';

describe('the sample pipelines through the engine alone', () => {
  let bench: EtlBench;
  beforeAll(async () => {
    bench = await etlBench({ root: sampleDataFolder });
  });
  afterAll(() => bench.remove());

  test.for(samplePipelines)('$agency/$pipeline gives the counts of an independent reader', async (sample, { skip }) => {
    const definition = samplePipelineDefinition(sample.agency, sample.pipeline) as PipelineDefinition;
    if (!existsSync(join(sampleDataFolder, definition.source.path))) skip('vega-datasets is not installed');
    const contract = sampleContract(sample.agency, sample.contract) as Record<string, unknown>;
    const result = await bench.run(definition, contract);
    const filtered = result.steps.reduce((sum, step) => sum + step.recordsFiltered, 0);
    expect({
      read: result.read,
      written: result.steps.at(-1)?.recordsOut,
      rejected: result.rejected.length,
      filtered,
    }).toEqual({ read: sample.read, written: sample.written, rejected: sample.rejected, filtered: sample.filtered });
    const first = result.rejected.map(({ recordNo }) => recordNo).sort((one, other) => one - other);
    expect(first.slice(0, sample.firstRejected.length)).toEqual(sample.firstRejected);
    expect(result.plan.recordsTotal).toBe(sample.read);
    for (const { reasons, raw } of result.rejected) {
      expect(reasons.length).toBeGreaterThan(0);
      expect(raw).toBeTruthy();
    }
    for (const step of result.steps)
      expect(step.recordsIn).toBe(step.recordsOut + step.recordsRejected + step.recordsFiltered);
  });
});
