/**
 * One live line per run. On a terminal the block of lines is redrawn in place and notes scroll above it; into a pipe a line
 * is printed when a run changes state and every few seconds while it moves, so that a log stays readable.
 */
export interface RunLine {
  agency: string;
  pipeline: string;
  state: 'waiting' | 'running' | 'completed' | 'failed';
  stage: string;
  recordsRead: bigint;
  /** Null while the source has not been counted. */
  fraction: number | null;
  ratePerSecond: number | null;
  etaAt: Date | null;
}

export interface Screen {
  /** Replaces the line of `key`; lines stand in the order in which their keys first came. */
  update(key: string, line: RunLine): void;
  /** Says something above the lines. */
  note(text: string): void;
  /** Draws the last state and leaves the cursor below it. */
  close(): void;
}

interface Output {
  isTTY?: boolean;
  columns?: number;
  write(text: string): unknown;
}

/** Redrawing faster than the eye follows only costs the terminal. */
const redrawIntervalMs = 100;
const pipeIntervalMs = 5_000;
const barWidth = 16;

export function createScreen(output: Output, now: () => number = Date.now): Screen {
  return output.isTTY === true ? terminalScreen(output, now) : pipeScreen(output, now);
}

function terminalScreen(output: Output, now: () => number): Screen {
  const lines = new Map<string, RunLine>();
  let drawn = 0;
  let drawnAt = 0;
  let pending: NodeJS.Timeout | undefined;

  const draw = (): void => {
    clearTimeout(pending);
    pending = undefined;
    drawnAt = now();
    const width = output.columns ?? 100;
    const up = drawn > 0 ? `\u001B[${String(drawn)}A` : '';
    output.write(
      `${up}${[...lines.values()].map((line) => `\u001B[2K${formatLine(line, now(), width - 1).slice(0, width - 1)}\n`).join('')}`,
    );
    drawn = lines.size;
  };

  return {
    update(key, line) {
      lines.set(key, line);
      const wait = drawnAt + redrawIntervalMs - now();
      if (wait <= 0) draw();
      else pending ??= setTimeout(draw, wait);
    },
    note(text) {
      const up = drawn > 0 ? `\u001B[${String(drawn)}A\u001B[0J` : '';
      output.write(`${up}${text}\n`);
      drawn = 0;
      draw();
    },
    close: draw,
  };
}

function pipeScreen(output: Output, now: () => number): Screen {
  const printed = new Map<string, { state: string; at: number }>();
  return {
    update(key, line) {
      const last = printed.get(key);
      if (last?.state === line.state && now() - last.at < pipeIntervalMs) return;
      printed.set(key, { state: line.state, at: now() });
      output.write(`${formatLine(line, now())}\n`);
    },
    note(text) {
      output.write(`${text}\n`);
    },
    close: () => undefined,
  };
}

/**
 * `nasa  global-temperatures  [████████        ]  50%  FULL  72 records  1,440/s  ETA 2 s`. Narrower than that (the usual
 * terminal has 80 columns) it goes without the bar, so that rate and ETA, which stand last, are not what is cut.
 */
export function formatLine(line: RunLine, nowMs: number, width = Infinity): string {
  const wide = formatCells(line, nowMs, { pipeline: 26, bar: true, records: 'records' });
  return wide.length <= width ? wide : formatCells(line, nowMs, { pipeline: 21, bar: false, records: '' });
}

interface CellLayout {
  /** Characters that the pipeline's name is padded to. */
  pipeline: number;
  bar: boolean;
  /** The unit behind the count; none where there is no room for it. */
  records: string;
}

function formatCells(line: RunLine, nowMs: number, layout: CellLayout): string {
  const fraction = line.state === 'completed' ? 1 : line.fraction;
  return [
    ` ${line.agency.padEnd(5)}`,
    line.pipeline.padEnd(layout.pipeline),
    ...(layout.bar ? [formatBar(fraction)] : []),
    (fraction === null ? '' : `${String(Math.floor(fraction * 100))}%`).padStart(4),
    line.stage.toLowerCase().padEnd(9),
    `${formatCount(line.recordsRead)} ${layout.records}`.trimEnd().padStart(layout.records === '' ? 10 : 17),
    (line.state === 'running' && line.ratePerSecond !== null && line.ratePerSecond > 0
      ? `${formatCount(Math.round(line.ratePerSecond))}/s`
      : ''
    ).padStart(11),
    ` ${outlook(line, nowMs)}`,
  ].join(' ');
}

function outlook(line: RunLine, nowMs: number): string {
  if (line.state !== 'running') return line.state;
  if (line.etaAt === null) return '';
  return `ETA ${String(Math.max(0, Math.ceil((line.etaAt.getTime() - nowMs) / 1000)))} s`;
}

/** How much of something is done, from 0 to 1. */
export function formatBar(fraction: number | null): string {
  const full = Math.floor((fraction ?? 0) * barWidth);
  return `[${'█'.repeat(full)}${'·'.repeat(barWidth - full)}]`;
}

/** 3000000 as 3,000,000, whatever the machine's locale. */
export function formatCount(value: bigint | number): string {
  return value.toLocaleString('en-US');
}

/** Columns padded to their widest cell; all but the first two stand right. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[], leftColumns = 2): string {
  const widths = header.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)));
  return [header, ...rows]
    .map((row) =>
      row
        .map((cell, i) => (i < leftColumns ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => ` ${line}`)
    .join('\n');
}
