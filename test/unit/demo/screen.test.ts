import { describe, expect, test } from 'vitest';

import { createScreen, formatCount, formatLine, formatTable, type RunLine } from '../../../src/cli/demo/screen.ts';

const running: RunLine = {
  agency: 'bts',
  pipeline: 'flights',
  state: 'running',
  stage: 'FULL',
  recordsRead: 1_500_000n,
  fraction: 0.5,
  ratePerSecond: 120_000.4,
  etaAt: new Date(12_500),
};

function output(isTTY: boolean): { isTTY: boolean; columns: number; written: string[]; write(text: string): void } {
  const written: string[] = [];
  return { isTTY, columns: 120, written, write: (text) => void written.push(text) };
}

describe('a line', () => {
  test('says agency, pipeline, share, stage, records, rate and ETA', () => {
    const line = formatLine(running, 0);
    expect(line).toContain('bts');
    expect(line).toContain('[████████········]  50%');
    expect(line).toContain('1,500,000 records');
    expect(line).toContain('120,000/s');
    expect(line).toContain('ETA 13 s');
  });

  test('of a run that is not counted yet claims no share', () => {
    expect(formatLine({ ...running, fraction: null, etaAt: null }, 0)).not.toContain('%');
  });

  test('of a finished run shows its ending and neither rate nor ETA', () => {
    const line = formatLine({ ...running, state: 'failed' }, 0);
    expect(line).toMatch(/failed$/);
    expect(line).not.toContain('/s');
  });

  test('keeps rate and ETA on a terminal of 80 columns', () => {
    const line = formatLine({ ...running, pipeline: 'industry-unemployment' }, 0, 79);
    expect(line.length).toBeLessThanOrEqual(79);
    for (const part of ['industry-unemployment', '50%', 'full', '1,500,000', '120,000/s', 'ETA 13 s'])
      expect(line).toContain(part);
    expect(formatLine({ ...running, state: 'completed' }, 0, 79)).toMatch(/completed$/);
  });

  test('never promises an end in the past', () => {
    expect(formatLine(running, 99_000)).toContain('ETA 0 s');
  });
});

describe('into a pipe', () => {
  test('a run is printed when its state changes and every five seconds', () => {
    const out = output(false);
    let now = 0;
    const screen = createScreen(out, () => now);
    screen.update('a', running);
    screen.update('a', { ...running, recordsRead: 2n });
    now = 5_000;
    screen.update('a', { ...running, recordsRead: 3n });
    screen.update('a', { ...running, state: 'completed' });
    screen.note('said');
    screen.close();
    expect(out.written).toHaveLength(4);
    expect(out.written[3]).toBe('said\n');
    expect(out.written.join('')).not.toContain('\u001B');
  });
});

describe('on a terminal', () => {
  test('lines are drawn over the earlier ones, and a note scrolls above them', () => {
    const out = output(true);
    let now = 1_000;
    const screen = createScreen(out, () => now);
    screen.update('a', running);
    now = 2_000;
    screen.update('b', { ...running, pipeline: 'other' });
    expect(out.written.at(-1)).toMatch(/^\u001B\[1A/);
    screen.note('said');
    expect(out.written.at(-2)).toBe('\u001B[2A\u001B[0Jsaid\n');
    expect(out.written.at(-1)).toContain('other');
  });

  test('a line is cut to the terminal, because a wrapped one could not be drawn over', () => {
    const out = { ...output(true), columns: 40 };
    const written: string[] = [];
    createScreen({ ...out, write: (text) => void written.push(text) }, () => 1_000).update('a', running);
    const [drawn] = written;
    expect(drawn?.replace('\u001B[2K', '').trimEnd().length).toBeLessThan(40);
  });
});

test('counts have thousands separators whatever the locale', () => {
  expect(formatCount(3_000_000n)).toBe('3,000,000');
});

test('a table stands in columns, names left and numbers right', () => {
  expect(
    formatTable(
      ['agency', 'pipeline', 'read'],
      [
        ['bls', 'x', '1'],
        ['national-archives', 'y', '1,000'],
      ],
    ),
  ).toBe(
    [
      ' agency             pipeline   read',
      ' bls                x             1',
      ' national-archives  y         1,000',
    ].join('\n'),
  );
});
