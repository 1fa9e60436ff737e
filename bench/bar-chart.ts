/** One bar: a name, its value, and what stands beside it. */
export interface Bar {
  name: string;
  value: number;
  label: string;
  /** What it is compared with. */
  reference?: boolean;
}

const barHeight = 26;
const nameWidth = 250;
const plotWidth = 420;
const labelWidth = 190;

/** Horizontal bars as an SVG document that reads in light and in dark. */
export function barChart(title: string, bars: readonly Bar[]): string {
  const top = 48;
  const width = nameWidth + plotWidth + labelWidth;
  const height = top + bars.length * (barHeight + 10) + 10;
  const most = Math.max(...bars.map(({ value }) => value));
  const rows = bars.map(({ name, value, label, reference }, at) => {
    const y = top + at * (barHeight + 10);
    const size = (value / most) * plotWidth;
    const middle = y + barHeight / 2 + 5;
    return [
      `<text x="${String(nameWidth - 10)}" y="${String(middle)}" text-anchor="end">${text(name)}</text>`,
      `<rect x="${String(nameWidth)}" y="${String(y)}" width="${size.toFixed(1)}" height="${String(barHeight)}" fill="${reference ? '#71767a' : '#2378c3'}"/>`,
      `<text x="${(nameWidth + size + 8).toFixed(1)}" y="${String(middle)}">${text(label)}</text>`,
    ].join('\n  ');
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${String(width)} ${String(height)}" role="img" aria-label="${text(title)}" font-family="sans-serif" font-size="14">
  <style>text { fill: #1b1b1b } @media (prefers-color-scheme: dark) { text { fill: #f0f0f0 } }</style>
  <text x="10" y="26" font-size="16" font-weight="bold">${text(title)}</text>
  ${rows.join('\n  ')}
</svg>
`;
}

function text(plain: string): string {
  return plain.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}
