import { expect, test } from 'vitest';

import { auditCsv, type Entry } from '../../dashboard/src/pages/audit-csv.ts';

const entry = (seq: number): Entry => ({
  __typename: 'AuditEntry',
  id: `entry-${String(seq)}`,
  seq: String(seq),
  at: '2026-01-02T03:04:05.000Z',
  actor: '=cmd()',
  role: 'OPERATOR',
  action: 'run.cancel',
  resourceType: 'run',
  resourceId: 'r1',
  success: true,
  errorCode: null,
  reason: 'wrong, "late"',
  traceId: null,
  requestId: null,
  leafHash: 'ab',
  cursor: `c${String(seq)}`,
});

async function* entries(last: number, failAfter = Infinity): AsyncGenerator<Entry> {
  for (let seq = 1; seq <= last; seq++) {
    if (seq > failAfter) throw new Error('gone');
    yield await Promise.resolve(entry(seq));
  }
}

test('an export of more than 10,000 entries holds each of them once, in order, under one head', async () => {
  const told: number[] = [];
  const { content, lines } = await auditCsv(entries(25_001), (read) => told.push(read));
  const [head, ...rows] = (await content.text()).trimEnd().split('\r\n');
  expect(lines).toBe(25_001);
  expect(head).toMatch(/^seq,at,actor,/);
  expect(rows.map((row) => Number(row.split(',')[0]))).toEqual(Array.from({ length: 25_001 }, (_each, i) => i + 1));
  expect(told.at(-1)).toBe(25_001);
  expect(told).toEqual(told.toSorted((a, b) => a - b));
  expect(told.length).toBeGreaterThan(2);
});

test('a cell is no formula, and what holds a comma or a quote is quoted', async () => {
  const { content } = await auditCsv(entries(1), () => undefined);
  expect((await content.text()).split('\r\n')[1]).toBe(
    `1,2026-01-02T03:04:05.000Z,'=cmd(),OPERATOR,run.cancel,run,r1,true,,"wrong, ""late""",ab`,
  );
});

test('a log that cannot be read to its end gives no file', async () => {
  await expect(auditCsv(entries(12_000, 11_000), () => undefined)).rejects.toThrow('gone');
});
