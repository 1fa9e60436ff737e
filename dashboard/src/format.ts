const numbers = new Intl.NumberFormat('en-US');
const moments = new Intl.DateTimeFormat('en-US', {
  year: 'numeric',
  month: 'short',
  day: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
});

/** A count of the API, which is a text because it may be larger than a number. */
export function count(value: string | number | null | undefined): string {
  return value === null || value === undefined ? '–' : numbers.format(BigInt(value));
}

export function moment(value: string | null | undefined): string {
  return value === null || value === undefined ? '–' : moments.format(new Date(value));
}

/** `4.2 s`, `3 min 20 s`, `2 h 5 min`. */
export function duration(ms: number): string {
  const seconds = Math.max(0, ms) / 1_000;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${String(minutes)} min ${String(Math.floor(seconds % 60))} s`;
  return `${numbers.format(Math.floor(minutes / 60))} h ${String(minutes % 60)} min`;
}

export function bytes(value: string | number | null | undefined): string {
  if (value === null || value === undefined) return '–';
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let size = Number(value);
  let unit = 0;
  while (size >= 1_000 && unit < units.length - 1) {
    size /= 1_000;
    unit += 1;
  }
  return `${size.toFixed(unit === 0 || size >= 100 ? 0 : 1)} ${units[unit] ?? ''}`;
}

export function percent(fraction: number): string {
  return `${String(Math.floor(fraction * 100))} %`;
}

/** `AI_TRAINING` as people write it: `ai training`. */
export function words(name: string): string {
  return name.toLowerCase().replaceAll('_', ' ');
}

/** The start of an id, enough to tell two apart on a screen. */
export function shortId(id: string): string {
  return id.length > 13 ? id.slice(-12) : id;
}

export function download(name: string, content: string | Blob, type: string): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // The browser reads it after the click: gone at once, a download may fail.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
