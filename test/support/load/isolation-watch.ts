/** Looks through everything that any client was answered for what is another agency's. */
export interface IsolationWatch {
  /**
   * Looks through one answer, whole.
   *
   * @param asked what the client sent for it: an id that it named itself may be named back
   */
  see(agency: string, answer: string, asked?: string): void;
  /** How many answers were looked through, and how many ids are known. */
  readonly answers: number;
  readonly ids: number;
  /** What one agency saw of another, in words. */
  readonly breaches: readonly string[];
}

const uuid = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
/** Texts long enough to be a global id: base64url of `Type:id`. */
const encoded = /"([\w-]{16,})"/g;

/**
 * An agency is known by its slug, which must be no word of the protocol; an id belongs to the agency that sees it first, so that whoever
 * sees it next is a breach whichever of the two it was meant for.
 */
export function createIsolationWatch(agencies: readonly string[]): IsolationWatch {
  const slug = new RegExp(`\\b(?:${agencies.join('|')})\\b`, 'g');
  const owners = new Map<string, string>();
  const breaches: string[] = [];
  let answers = 0;
  return {
    see(agency, answer, asked = '') {
      answers += 1;
      const own = plainly(asked);
      const told = plainly(answer);
      for (const [found] of told.matchAll(slug)) {
        if (found !== agency && !own.includes(found)) breaches.push(`${agency} was told of ${found}: ${excerpt(told)}`);
      }
      for (const [id] of told.matchAll(uuid)) {
        const owner = owners.get(id);
        if (owner === undefined) {
          if (!own.includes(id)) owners.set(id, agency);
        } else if (owner !== agency && !own.includes(id)) {
          breaches.push(`${agency} was told the id ${id}, which ${owner} knows: ${excerpt(told)}`);
        }
      }
    },
    get answers() {
      return answers;
    },
    get ids() {
      return owners.size;
    },
    breaches,
  };
}

/** The text, and behind it what its global ids mean. */
function plainly(text: string): string {
  const ids = [...text.matchAll(encoded)].map(([, id = '']) => Buffer.from(id, 'base64url').toString('latin1'));
  return [text, ...ids.filter((id) => /^[A-Za-z]+:/.test(id))].join(' ');
}

const excerpt = (text: string): string => text.slice(0, 300);
