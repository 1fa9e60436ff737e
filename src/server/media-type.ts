const offered = ['application/graphql-response+json', 'application/json'] as const;
export type ResponseType = (typeof offered)[number];

/**
 * The type that a GraphQL answer has for an Accept header (GraphQL over HTTP, section 6.1). Without a header, or where both are
 * equally good only by a wildcard, it is application/json, which every client understands.
 *
 * @returns null when neither is acceptable
 */
export function responseType(accept: string | undefined): ResponseType | null {
  if (!accept) return 'application/json';
  const ranges = accept.split(',').map(readRange);
  const weighed = offered.map((type) => ({ type, ...weigh(type, ranges) })).filter(({ quality }) => quality > 0);
  weighed.sort((a, b) => b.quality - a.quality || Number(b.named) - Number(a.named));
  const [best, next] = weighed;
  if (!best) return null;
  return best.named || !next ? best.type : 'application/json';
}

/** Whether an Accept header asks for an event stream rather than for one answer. */
export function prefersEventStream(accept: string | undefined): boolean {
  if (!accept) return false;
  const ranges = accept.split(',').map(readRange);
  const stream = ranges.find(({ type }) => type === 'text/event-stream')?.quality ?? 0;
  const named = ranges.filter(({ type }) => (offered as readonly string[]).includes(type));
  return stream > 0 && named.every(({ quality }) => quality < stream);
}

interface Range {
  type: string;
  quality: number;
}

function readRange(text: string): Range {
  const [type = '', ...parameters] = text.split(';').map((part) => part.trim().toLowerCase());
  const quality = parameters
    .map((parameter) => /^q=([01](?:\.\d{0,3})?)$/.exec(parameter)?.[1])
    .find((found) => found !== undefined);
  return { type, quality: quality === undefined ? 1 : Number(quality) };
}

/** A range that names the type wins over `application/*`, and that over one that names nothing. */
function weigh(type: ResponseType, ranges: readonly Range[]): { quality: number; named: boolean } {
  const find = (name: string): Range | undefined => ranges.find((range) => range.type === name);
  const named = find(type);
  return { quality: (named ?? find('application/*') ?? find('*/*'))?.quality ?? 0, named: named !== undefined };
}
