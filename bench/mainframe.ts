/**
 * How fast mainframe records of fixed length are decoded, in EBCDIC bytes per second, on one thread.
 *
 *   npx node bench/mainframe.ts [megabytes]
 *
 * Two layouts: wide customer records, all of whose 500 bytes are decoded, and narrow ones of packed, zoned and binary
 * numbers: `amounts` is one record again and again, `varied` 2,000 others of every length and sign, which no processor learns by heart. `decode`: bytes of the file to the rows that DuckDB reads, with the reads and writes of files. `batches`: the whole
 * child's work with typed output, without a contract.
 */
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BatchSession } from '../src/etl/batch-session.ts';
import type { PipelineDefinition } from '../src/etl/engine-types.ts';
import { openMainframeReader } from '../src/etl/ingest/mainframe/mainframe-reader.ts';
import { openPlainFile } from '../src/objects/byte-file.ts';

const megabytes = Number(process.argv[2] ?? 200);
const million = 1_000_000;

const amounts = `01 A. 05 ID PIC 9(9) COMP. 05 KIND PIC X(4). 05 BALANCE PIC S9(9)V99 COMP-3. 05 LIMIT-1 PIC S9(10)V99.
      05 COUNT-1 PIC S9(4) COMP. 05 TOTAL PIC S9(13)V99 COMP-3. 05 BIG PIC S9(18) COMP-5.`;
const layouts = {
  customers: {
    copybook: `01 C. 05 ID PIC 9(9). 05 FIRST-NAME PIC X(25). 05 MIDDLE-NAME PIC X(25). 05 LAST-NAME PIC X(25).
      05 LINE-1 PIC X(50). 05 LINE-2 PIC X(50). 05 LINE-3 PIC X(50). 05 STATE PIC X(2). 05 COUNTRY PIC X(3). 05 ZIP PIC X(10).
      05 PHONE-1 PIC X(15). 05 PHONE-2 PIC X(15). 05 SSN PIC 9(9). 05 ISSUED-ID PIC X(20). 05 BORN PIC X(10). 05 EFT PIC X(10).
      05 PRIMARY-HOLDER PIC X. 05 SCORE PIC 9(3). 05 REST PIC X(168).`,
    records: [
      `${'f0f0f0f1f2f3f4f5f6'}${text(25, 9)}${text(25, 8)}${text(25, 7)}${text(50, 20)}${text(50, 10)}${text(50, 15)}${text(2, 2)}${text(3, 3)}${text(10, 5)}${text(15, 13)}${text(15, 13)}${'f0f2f0f9f7f3f8f8f8'}${text(20, 20)}${text(10, 10)}${text(10, 10)}${text(1, 1)}${'f2f7f4'}${text(168, 0)}`,
    ],
  },
  amounts: {
    copybook: amounts,
    records: [`00bc614e${text(4, 3)}00012345678c${'f0f0f0f0f0f1f2f3f4f5f6d7'}007b000001234567890d00000000075bcd15`],
  },
  varied: { copybook: amounts, records: variedAmounts(2_000) },
};

/** Blanks at the end, as records have them; hexadecimal. */
function text(length: number, letters: number): string {
  return 'c1'.repeat(letters) + '40'.repeat(length - letters);
}

/** Hexadecimal; the same at each call. */
function variedAmounts(count: number): string[] {
  let state = 1;
  const below = (limit: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  const digits = (most: number): string =>
    Array.from({ length: 1 + below(most) }, () => below(10))
      .join('')
      .padStart(most, '0');
  const signed = (most: number): bigint => BigInt(digits(most)) * (below(3) === 0 ? -1n : 1n);
  const binary = (value: bigint, bytes: number): string =>
    BigInt.asUintN(bytes * 8, value)
      .toString(16)
      .padStart(bytes * 2, '0');
  const packed = (most: number): string => digits(most) + (below(3) === 0 ? 'd' : 'c');
  const zoned = (most: number): string => {
    const plain = [...digits(most)].map((digit) => `f${digit}`).join('');
    return below(3) === 0 ? `${plain.slice(0, -2)}d${plain.slice(-1)}` : plain;
  };
  return Array.from({ length: count }, () =>
    [
      binary(BigInt(digits(9)), 4),
      text(4, below(5)),
      packed(11),
      zoned(12),
      binary(signed(4), 2),
      packed(15),
      binary(signed(18), 8),
    ].join(''),
  );
}

const folder = mkdtempSync(join(tmpdir(), 'flux-bench-'));
try {
  for (const [name, layout] of Object.entries(layouts)) await measure(name, layout.copybook, layout.records);
} finally {
  rmSync(folder, { recursive: true });
}

async function measure(name: string, copybook: string, hexadecimal: readonly string[]): Promise<void> {
  const path = join(folder, name);
  const length = (hexadecimal[0] ?? '').length / 2;
  const records = Math.floor((megabytes * million) / length);
  writeRecords(path, hexadecimal, { count: records, length });
  const bytes = statSync(path).size;
  const reader = openMainframeReader(
    openPlainFile(path),
    { copybook, codePage: 'cp037', records: 'fixed' },
    null,
    folder,
  );
  await reader.start({ from: { offset: 0, record: 0 }, records });
  const decoding = await timed(async () => {
    let chunk = await reader.next(100_000);
    for (; !chunk.last; chunk = await reader.next(100_000))
      if (chunk.unreadable.length > 0) throw new Error('rejected');
  });
  reader.close();
  print(`${name} decode`, { bytes, records, seconds: decoding });

  const definition: PipelineDefinition = {
    name,
    source: { connection: 'files', path, format: { type: 'mainframe', copybook } },
    destination: { type: 'postgres', dataset: 'bench', mode: 'replace' },
  };
  const session = await BatchSession.open({
    definition,
    contract: null,
    objectPath: path,
    objectByteCount: bytes,
    workFolder: folder,
    memoryMegabytes: 256,
  });
  await session.start({ from: { offset: 0, record: 0 }, record: 0, records }, null);
  const batches = await timed(async () => {
    for (let last = false; !last;) {
      const batch = await session.next();
      last = batch.last;
      rmSync(batch.goodFile);
    }
  });
  session.close();
  print(`${name} batches`, { bytes, records, seconds: batches });
}

/** So many of them, beginning anew behind the last. */
function writeRecords(
  path: string,
  hexadecimal: readonly string[],
  { count, length }: { count: number; length: number },
): void {
  const perWrite = 2_000;
  const records = Array.from({ length: perWrite }, (_each, at) => hexadecimal[at % hexadecimal.length] as string);
  const block = Buffer.from(records.join(''), 'hex');
  const fd = openSync(path, 'w');
  for (let left = count; left > 0; left -= perWrite) writeSync(fd, block, 0, Math.min(left, perWrite) * length);
  closeSync(fd);
}

async function timed(work: () => Promise<void>): Promise<number> {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

function print(what: string, { bytes, records, seconds }: { bytes: number; records: number; seconds: number }): void {
  const rates = `${(bytes / million / seconds).toFixed(0)} MB/s, ${Math.round(records / seconds)} records/s`;
  process.stdout.write(`${what}: ${rates} (${(bytes / million).toFixed(0)} MB in ${seconds.toFixed(2)} s)\n`);
}
