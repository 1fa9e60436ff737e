/**
 * What encryption at rest costs, off and on in turns within one run, so that the machine's drift falls on both:
 *
 *   - the 3,000,000-row flights run through the whole product (bench/flights.ts, with FLUX_ENCRYPTION off and on)
 *   - the object store alone: storing and reading back 256 MiB
 *   - a refused record of 200 bytes: sealed and opened, under the key that is kept for its source and under one derived for each
 */
import { execFile } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

import { keyByteCount } from '../src/crypto/aead.ts';
import { randomBytes } from '../src/crypto/random.ts';
import type { DataKey } from '../src/keys/key-ring.ts';
import { sealRejected } from '../src/keys/sealed-records.ts';
import { createFileStore } from '../src/objects/file-store.ts';
import { readSealed } from '../src/objects/sealed-file.ts';

const rounds = 4;
const key: DataKey = { version: 1, key: randomBytes(keyByteCount) };
const modes = ['off', 'on'] as const;
type Mode = (typeof modes)[number];

/** Measures both modes in turns, the order turned each round. @returns the medians */
async function inTurns(measure: (mode: Mode) => Promise<number>): Promise<Record<Mode, number>> {
  const measured: Record<Mode, number[]> = { off: [], on: [] };
  for (let round = 0; round < rounds; round += 1) {
    for (const mode of round % 2 === 0 ? modes : [...modes].reverse()) measured[mode].push(await measure(mode));
  }
  return { off: median(measured.off), on: median(measured.on) };
}

/** CPU seconds of each turn's processes together: other work on the machine slows a run down, and hardly makes it calculate more. */
const processor: Record<Mode, number[]> = { off: [], on: [] };

/** Records/s of the whole product. */
async function flights(mode: Mode): Promise<number> {
  const env = { ...process.env, FLUX_ENCRYPTION: mode, TIMEFORMAT: 'cpu %U %S' };
  const timed = ['-c', 'time "$@"', 'bench', process.execPath, path.join(import.meta.dirname, 'flights.ts')];
  const { stdout, stderr } = await promisify(execFile)('/bin/bash', timed, { env });
  const [, user = 0, system = 0] = (/cpu ([\d.]+) ([\d.]+)/.exec(stderr) ?? []).map(Number);
  processor[mode].push(user + system);
  const rate = /records\/s\s*\|\s*([\d,]+)/.exec(stdout)?.[1];
  if (rate === undefined || !/verified\s*\|\s*yes/.test(stdout)) throw new Error(`no sound run: ${stdout}`);
  return Number(rate.replaceAll(',', ''));
}

/** Of this process since then: what others do on the machine hardly changes it. */
function cpuSeconds(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1e6;
}

/** MiB in a second of processor time, stored and read back. */
async function store(): Promise<{ put: Record<Mode, number>; read: Record<Mode, number> }> {
  const folder = await mkdtemp(path.join(tmpdir(), 'flux-bench-'));
  const mebibytes = 256;
  const piece = randomBytes(1 << 20);
  async function* bytes(): AsyncGenerator<Buffer> {
    for (let i = 0; i < mebibytes; i += 1) yield await Promise.resolve(piece);
  }
  try {
    const objects = createFileStore({ folder, dataKey: key.key });
    const put = await inTurns(async (mode) => {
      const dataKey = mode === 'on' ? key : null;
      const started = process.cpuUsage();
      const { address } = await objects.put('nasa', bytes(), dataKey);
      const seconds = cpuSeconds(started);
      await rm(objects.pathOf(address));
      return mebibytes / seconds;
    });
    const plain = await objects.put('nasa', bytes(), null);
    const sealed = await objects.put('nasa', bytes(), key);
    const seal = await objects.sealOf(sealed.address, () => Promise.resolve(key));
    if (!seal) throw new Error('the object is not sealed');
    const read = await inTurns(async (mode) => {
      const started = process.cpuUsage();
      const pieces =
        mode === 'on'
          ? readSealed(objects.pathOf(sealed.address), seal)
          : createReadStream(objects.pathOf(plain.address));
      let count = 0;
      for await (const one of pieces as AsyncIterable<Uint8Array>) count += one.length;
      return count / 2 ** 20 / cpuSeconds(started);
    });
    return { put, read };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Microseconds of a record: under the kept key, and with a new derivation for every one. */
function records(): { kept: number; derived: number; plain: number } {
  const content = {
    raw: 'x'.repeat(200),
    reasons: [{ path: '/year', rule: 'type', message: 'should be integer, found "unknown"' }],
  };
  const count = 50_000;
  const micros = (work: (i: number) => unknown): number => {
    const started = process.cpuUsage();
    for (let i = 0; i < count; i += 1) work(i);
    return (cpuSeconds(started) * 1e6) / count;
  };
  const place = { agency: 'nasa', contractName: 'person', contractVersion: 1 };
  const source = 'ab'.repeat(32);
  const turns = Array.from({ length: rounds }, () => ({
    plain: micros(() => JSON.stringify(content)),
    kept: micros((i) => sealRejected(key, { ...place, sourceSha256: source, recordNo: i }, content)),
    // Another source each time has another key, which is then derived.
    derived: micros((i) => sealRejected(key, { ...place, sourceSha256: String(i), recordNo: i }, content)),
  }));
  const of = (name: 'plain' | 'kept' | 'derived'): number => median(turns.map((turn) => turn[name]));
  return { plain: of('plain'), kept: of('kept'), derived: of('derived') };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const [low = 0, high = 0] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return (low + high) / 2;
}

function row(name: string, { off, on }: Record<Mode, number>): string {
  const shown = (value: number): string => Math.round(value).toLocaleString('en-US');
  return `| ${name} | ${shown(off)} | ${shown(on)} | ${((on / off) * 100).toFixed(0)} % |`;
}

const alone = process.argv.includes('--parts');
const whole = alone ? null : await inTurns(flights);
const { put, read } = await store();
const { kept, derived, plain } = records();
process.stdout.write(
  `${[
    `| medians of ${String(rounds)} turns | off | on | on to off |`,
    '|---|---|---|---|',
    ...(whole
      ? [
          row('flights run, records/s', whole),
          row('the same, CPU seconds with start and stop', { off: median(processor.off), on: median(processor.on) }),
        ]
      : []),
    row('storing an object, MiB/s of processor time', put),
    row('reading it back, MiB/s of processor time', read),
    '',
    `A refused record of 200 bytes, processor time: ${plain.toFixed(1)} us as JSON, ${kept.toFixed(1)} us sealed under the kept key, ${derived.toFixed(1)} us with a derivation each.`,
  ].join('\n')}\n`,
);
