/** One line: what it shows, and its points from left to right. */
export interface Line {
  name: string;
  points: readonly { x: number; y: number }[];
}

export interface Axes {
  title: string;
  /** What the two axes count, with their units. */
  x: string;
  y: string;
}

const width = 860;
const height = 320;
const margin = { left: 70, right: 150, top: 48, bottom: 48 };
const colours = ['#2378c3', '#d54309', '#00a398', '#936f38', '#71767a'];

/** Lines over a common axis as an SVG document that reads in light and in dark; the vertical axis begins at 0. */
export function lineChart({ title, x, y }: Axes, lines: readonly Line[]): string {
  const points = lines.flatMap((line) => line.points);
  const right = Math.max(1, ...points.map((point) => point.x));
  const top = Math.max(1, ...points.map((point) => point.y));
  const plot = { width: width - margin.left - margin.right, height: height - margin.top - margin.bottom };
  const atX = (value: number): string => (margin.left + (value / right) * plot.width).toFixed(1);
  const atY = (value: number): string => (margin.top + plot.height * (1 - value / top)).toFixed(1);
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  const grid = ticks.flatMap((share) => [
    `<path d="M${atX(0)} ${atY(top * share)}H${atX(right)}" stroke="#a9aeb1" stroke-width="0.5"/>`,
    `<text x="${String(margin.left - 8)}" y="${atY(top * share)}" dy="4" text-anchor="end">${short(top * share)}</text>`,
    `<text x="${atX(right * share)}" y="${String(height - 26)}" text-anchor="middle">${short(right * share)}</text>`,
  ]);
  const drawn = lines.flatMap(({ name, points: own }, i) => {
    const colour = colours[i % colours.length] ?? '';
    const path = own.map((point, at) => `${at === 0 ? 'M' : 'L'}${atX(point.x)} ${atY(point.y)}`).join('');
    const beside = String(margin.top + 14 + i * 20);
    return [
      `<path d="${path}" fill="none" stroke="${colour}" stroke-width="1.5"/>`,
      `<rect x="${String(width - margin.right + 12)}" y="${String(Number(beside) - 10)}" width="12" height="12" fill="${colour}"/>`,
      `<text x="${String(width - margin.right + 30)}" y="${beside}">${text(name)}</text>`,
    ];
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${String(width)} ${String(height)}" role="img" aria-label="${text(title)}" font-family="sans-serif" font-size="13">
  <style>text { fill: #1b1b1b } @media (prefers-color-scheme: dark) { text { fill: #f0f0f0 } }</style>
  <text x="10" y="26" font-size="16" font-weight="bold">${text(title)}</text>
  <text x="${String(margin.left)}" y="42">${text(y)}</text>
  <text x="${atX(right / 2)}" y="${String(height - 8)}" text-anchor="middle">${text(x)}</text>
  ${[...grid, ...drawn].join('\n  ')}
</svg>
`;
}

const short = (value: number): string => (value >= 10 ? value.toFixed(0) : value.toFixed(1));

function text(plain: string): string {
  return plain.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}
