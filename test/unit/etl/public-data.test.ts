import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';

import { contractOf, definitionOf, type EtlBench, etlBench, type EtlResult } from '../../support/etl.ts';

/** Real federal files with their traps; the counts are those of independent readers (Python's csv and json), never our own. */
const folder = join(import.meta.dirname, '../../../../shared/data');

// A loaded machine starts a child process in seconds, and each source has two or three.
vi.setConfig({ testTimeout: 120_000 });

let bench: EtlBench;
beforeAll(async () => {
  bench = await etlBench({ root: folder });
});
afterAll(() => bench.remove());

async function read(
  path: string,
  format: Parameters<typeof definitionOf>[1],
  skip: (note: string) => never,
): Promise<EtlResult> {
  if (!existsSync(join(folder, path))) skip(`shared/data/${path} is not beside this checkout`);
  // Batches small enough that the bench keeps their rows.
  return bench.run(definitionOf(path, format, { batch: { records: 10_000 } }), null);
}

/** The cells of a column, without the record numbers. */
function column({ plan, rows }: EtlResult, name: string): (string | null)[] {
  const at = plan.columns.findIndex((each) => each.name === name);
  if (at === -1)
    throw new Error(`expected a column ${name}, found ${plan.columns.map((each) => each.name).join(', ')}`);
  return rows.map((row) => row[at + 1] ?? null);
}

function reconciled(result: EtlResult, records: number): void {
  expect({
    planned: result.plan.recordsTotal,
    read: result.read,
    good: result.rows.length,
    rejected: result.rejected.length,
  }).toEqual({
    planned: records,
    read: records,
    good: records,
    rejected: 0,
  });
  expect(result.rows.map(([record]) => Number(record))).toEqual(Array.from({ length: records }, (_each, at) => at + 1));
}

describe('public data, counted as independent readers count them', () => {
  test('NARA’s file extensions: a byte order mark, CRLF, 37,542 records where a relaxed reader loses 40', async ({
    skip,
  }) => {
    const result = await read('nara/NARA_FileExtensions.csv', { type: 'csv' }, skip);
    reconciled(result, 37_542);
    expect(result.plan.columns[0]?.name).toBe('extension');
    const counts = column(result, 'count').map((text) => BigInt(text ?? '0'));
    expect(counts.reduce((sum, count) => sum + count, 0n)).toBe(1_630_761_303n);
    expect(counts.reduce((most, count) => (count > most ? count : most), 0n)).toBe(776_232_512n);
    const extensions = column(result, 'extension');
    expect(new Set(extensions).size).toBe(37_517);
    expect(extensions.filter((extension) => /^\d+$/.test(extension ?? ''))).toHaveLength(3_745);
    for (const kept of ['na', 'nan']) expect(extensions).toContain(kept);
  });

  test('the National Gallery’s constituents: 27,438 records, quotes and delimiters inside quotes', async ({ skip }) => {
    const result = await read('nga/constituents.csv', { type: 'csv' }, skip);
    reconciled(result, 27_438);
    expect(result.plan.columns).toHaveLength(14);
    const filled = (name: string): (string | null)[] => column(result, name).filter((value) => value !== null);
    expect([filled('ulanid').length, new Set(filled('ulanid')).size]).toEqual([8_185, 8_167]);
    expect([filled('wikidataid').length, new Set(filled('wikidataid')).size]).toEqual([8_975, 8_958]);
    expect(column(result, 'beginyear').filter((year) => year?.startsWith('-'))).toHaveLength(25);
  });

  test('CISA’s exploited vulnerabilities: the CSV and the JSON are the same 1,404 records, cell by cell', async ({
    skip,
  }) => {
    const csv = await read('kev/known_exploited_vulnerabilities.csv', { type: 'csv' }, skip);
    const json = await read(
      'kev/known_exploited_vulnerabilities.json',
      { type: 'json', recordPath: '/vulnerabilities' },
      skip,
    );
    reconciled(csv, 1_404);
    reconciled(json, 1_404);
    const records = json.rows.map((row) => JSON.parse(row[1] ?? '') as Record<string, string | string[]>);
    const names = [
      'cveID',
      'vendorProject',
      'product',
      'vulnerabilityName',
      'dateAdded',
      'shortDescription',
      'requiredAction',
      'dueDate',
      'knownRansomwareCampaignUse',
      'notes',
      'cwes',
    ];
    const text = (value: string | string[] | undefined): string =>
      Array.isArray(value) ? value.join(', ') : (value ?? '');
    expect(csv.plan.columns).toHaveLength(names.length);
    expect(csv.rows.map((row) => row.slice(1).map((cell) => cell ?? ''))).toEqual(
      records.map((record) => names.map((name) => text(record[name]))),
    );
  });

  test('the eCFR’s corrections: 3,343, each with its exact text', async ({ skip }) => {
    const result = await read('ecfr/corrections.json', { type: 'json', recordPath: '/ecfr_corrections' }, skip);
    reconciled(result, 3_343);
    const document = JSON.parse(await readFile(join(folder, 'ecfr/corrections.json'), 'utf8')) as {
      ecfr_corrections: unknown[];
    };
    expect(result.rows.map((row) => JSON.parse(row[1] ?? '') as unknown)).toEqual(document.ecfr_corrections);
  });

  test('the eCFR’s agencies: 153 with 163 children', async ({ skip }) => {
    const result = await read('ecfr/agencies.json', { type: 'json', recordPath: '/agencies' }, skip);
    reconciled(result, 153);
    const agencies = result.rows.map((row) => JSON.parse(row[1] ?? '') as { children: unknown[] });
    expect(agencies.reduce((sum, { children }) => sum + children.length, 0)).toBe(163);
  });
});

describe('files that nobody means well', () => {
  test('ten thousand columns are refused with what to do, or read as far as the contract names them', async () => {
    const own = await etlBench();
    try {
      const line = (prefix: string, count: number): string =>
        Array.from({ length: count }, (_each, at) => `${prefix}${String(at)}`).join(',');
      await own.put('wide.csv', `${line('c', 10_000)}\n${line('v', 10_000)}\n${line('w', 9_999)}\n`);
      const definition = definitionOf('wide.csv', { type: 'csv' });
      await expect(own.run(definition, null)).rejects.toMatchObject({
        code: 'SOURCE_INVALID',
        message: expect.stringMatching(/10000 columns; a dataset holds at most 1500/) as string,
      });
      const properties = { c0: { type: 'string' }, c9999: { type: 'string' } };
      const { rows, rejected, plan } = await own.run(definition, contractOf(properties));
      expect([plan.recordsTotal, rows]).toEqual([2, [['1', 'v0', 'v9999']]]);
      expect(rejected).toMatchObject([
        {
          recordNo: 2,
          reasons: [{ rule: 'fields', message: expect.stringMatching(/10000 fields, found 9999/) as string }],
        },
      ]);
    } finally {
      await own.remove();
    }
  });

  test('naughty strings come through as they are, in CSV and in JSON', async () => {
    const naughty = [
      "'; drop table readings; --",
      '"',
      '""',
      '\\',
      '\\N',
      '\\.',
      'NULL',
      'null',
      'undefined',
      'NaN',
      'true',
      '-0',
      '1e1000',
      '0x1F',
      '1_000',
      '٣',
      '𝟙',
      '\u200b',
      '\u00a0',
      '\u202e‮RTL',
      '\ufeffmark',
      'e\u0301',
      'Ω≈ç√∫',
      '田中さん',
      '👩‍👩‍👧‍👦',
      '\u2028',
      '\u0085',
      '\u001a',
      '\t',
      ' lead and trail ',
      '=1+1',
      '@SUM(1)',
      '<script>alert(1)</script>',
      '${jndi:ldap://x}',
      '{{7*7}}',
      '%s%n',
      '../../etc/passwd',
      'a\nb',
      'a\r\nb',
      'a,b;c|d',
    ];
    const own = await etlBench();
    try {
      await own.put('naughty.csv', `text\n${naughty.map((text) => `"${text.replaceAll('"', '""')}"`).join('\n')}\n`);
      const csv = await own.run(definitionOf('naughty.csv', { type: 'csv' }), null);
      expect(csv.rows.map((row) => row[1])).toEqual(naughty);
      await own.put('naughty.ndjson', naughty.map((text) => JSON.stringify({ text })).join('\n'));
      const contract = {
        $schema: 'https://json-schema.org/draft/2020-12/schema',
        title: 'Naughty',
        type: 'object',
        properties: { text: { type: 'string' } },
      };
      const json = await own.run(definitionOf('naughty.ndjson', { type: 'ndjson' }), contract);
      expect(json.rows.map((row) => row[1])).toEqual(naughty);
    } finally {
      await own.remove();
    }
  });
});
