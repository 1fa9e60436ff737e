import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { canonicalBytes } from '../../src/canonical-json.ts';
import { decodeCheckpoint, type Definitions, encodeCheckpoint } from '../../src/checkpoint/body.ts';
import { advance, beginning } from '../../src/checkpoint/position.ts';
import type { Claim } from '../../src/db/queue.ts';
import type { StepTotal } from '../../src/db/step-counts.ts';
import { backoff, backoffMs } from '../../src/queue/backoff.ts';
import { findDifferences } from '../../src/worker/reconcile.ts';
import { within } from '../../src/worker/within.ts';

const claim: Claim = {
  agencyId: 'nasa',
  runId: '00000000-0000-7000-8000-000000000000',
  partitionNo: 1,
  kind: 'BATCHES',
  stage: 'FULL',
  epoch: 3,
  takings: 1,
  takenOver: false,
  role: 'flux_nasa_rw',
  worker: 'w',
};
const definitions: Definitions = { pipeline: { name: 'p', version: 2 }, contract: { name: 'c', version: 1 } };

describe('backoff', () => {
  it('stays within its bounds, and never shrinks with the takings', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1_000 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (takings, random) => {
          const delay = backoff(takings, random);
          expect(delay).toBeGreaterThanOrEqual(backoffMs.first / 2);
          expect(delay).toBeLessThanOrEqual(backoffMs.most);
          expect(backoff(takings + 1, random)).toBeGreaterThanOrEqual(delay);
        },
      ),
    );
  });
});

const step = (over: Partial<StepTotal>): StepTotal => ({
  stage: 'INGEST',
  step: 'read',
  kind: 'read',
  recordsIn: 10,
  recordsOut: 10,
  recordsRejected: 0,
  recordsFiltered: 0,
  ...over,
});
const chain: StepTotal[] = [
  step({}),
  step({ step: 'validate', kind: 'validate', recordsOut: 8, recordsRejected: 2 }),
  step({ stage: 'TRANSFORM', step: 'filter', kind: 'filter', recordsIn: 8, recordsOut: 5, recordsFiltered: 3 }),
  step({ stage: 'EXPORT', step: 'write', kind: 'write', recordsIn: 5, recordsOut: 5 }),
];
const tally = { steps: chain, recordsTotal: 10, destination: 5, rejected: 2 };

describe('reconciliation', () => {
  it('finds nothing where every record is accounted for, counted source or not', () => {
    expect(findDifferences(tally)).toEqual([]);
    expect(findDifferences({ ...tally, recordsTotal: null })).toEqual([]);
  });

  it.each([
    ['the source', { recordsTotal: 11 }, 'the source holds 11, read took in 10 (difference -1)'],
    ['the destination', { destination: 6 }, 'write gave out 5, the destination holds 6 (difference 1)'],
    ['the rejected records', { rejected: 1 }, 'the steps rejected 2, the rejected records are 1 (difference -1)'],
    ['the steps', { steps: [] }, 'no step has counted anything'],
  ])('names the difference with %s', (_what, over, sentence) => {
    expect(findDifferences({ ...tally, ...over })).toEqual([sentence]);
  });

  it('notices any count of any step that is off by any number', () => {
    const counts = ['recordsIn', 'recordsOut', 'recordsRejected', 'recordsFiltered'] as const;
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 3 }),
        fc.constantFrom(...counts),
        fc.integer({ min: 1, max: 100 }),
        (at, count, by) => {
          const steps = chain.map((one, i) => (i === at ? { ...one, [count]: one[count] + by } : one));
          expect(findDifferences({ ...tally, steps })).not.toEqual([]);
        },
      ),
    );
  });
});

describe('checkpoint bodies', () => {
  const batch = {
    cursor: '{"offset":10}',
    recordsRead: 10,
    bytesRead: 100,
    goodCount: 5,
    rejectedCount: 2,
    steps: chain,
  };

  it('add up batch by batch', () => {
    const twice = advance(advance(beginning, batch), { ...batch, cursor: '{"offset":20}' });
    expect(twice).toMatchObject({
      version: 2,
      cursor: '{"offset":20}',
      counts: { read: 20, written: 10, rejected: 4, filtered: 6, bytes: 200 },
    });
    expect(twice.steps[1]).toMatchObject({ recordsIn: 20, recordsOut: 16, recordsRejected: 4 });
  });

  it('read back as they were written', () => {
    const position = {
      ...advance(beginning, batch),
      lastEvent: { seq: 12, id: '01980000-0000-7000-8000-000000000000' },
    };
    const stored = encodeCheckpoint(claim, position, definitions);
    expect(decodeCheckpoint(stored, definitions)).toEqual({ ...position, hash: stored.hash });
  });

  it('say of themselves where they belong', () => {
    const { body } = encodeCheckpoint(claim, { ...advance(beginning, batch), hash: Buffer.alloc(32, 1) }, definitions);
    expect(JSON.parse(body.toString())).toMatchObject({
      agency: 'nasa',
      run: claim.runId,
      partition: 1,
      version: 1,
      epoch: 3,
      previousHash: '01'.repeat(32),
      ...definitions,
    });
  });

  it.each([
    [{ ...definitions, contract: null }],
    [{ ...definitions, contract: { name: 'c', version: 2 } }],
    [{ ...definitions, pipeline: { name: 'p', version: 3 } }],
  ])('are refused under other definitions: %j', (other) => {
    const stored = encodeCheckpoint(claim, advance(beginning, batch), definitions);
    expect(() => decodeCheckpoint(stored, other)).toThrow(expect.objectContaining({ code: 'CHECKPOINT_INCOMPATIBLE' }));
  });
});

describe('canonical JSON', () => {
  it('does not depend on the order of keys', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue()), (value) => {
        const turned = Object.fromEntries(Object.entries(value).reverse());
        expect(canonicalBytes(turned).equals(canonicalBytes(value))).toBe(true);
      }),
    );
  });

  it.each([[1n], [undefined], [Number.NaN], ['\ud800'], [() => 1]])('refuses what is not JSON: %s', (value) => {
    expect(() => canonicalBytes(value)).toThrow(TypeError);
  });
});

describe('within', () => {
  it('says whether the work ended in time, and passes its failure on', async () => {
    expect(await within(1_000, Promise.resolve())).toBe(true);
    expect(await within(1, new Promise(() => undefined))).toBe(false);
    await expect(within(1_000, Promise.reject(new Error('broken')))).rejects.toThrow('broken');
  });
});
