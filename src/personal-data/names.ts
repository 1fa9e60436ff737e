/**
 * Names of people, by an NLP library that knows given and family names and how words stand together. Of its own findings are left out those
 * that streets, schools, airports and companies are called after. Loaded where a sample is looked at, and nowhere else: it takes 45 MB.
 */
import type { NameFinder } from './detect.ts';

/** What is called after people, within three words behind the name. */
const calledAfter =
  /^[\s,]*(?:[\p{L}&.'-]+ ){0,2}(?:airports?|airfield|field|avenue|ave|bank|base|bay|beach|blvd|boulevard|bridge|building|canal|canyon|cent(?:er|re)|church|city|clinic|college|co|company|corp(?:oration)?|county|court|creek|dam|distillery|district|drive|falls|forest|fort|foundation|garden|group|hall|heights|highway|hills?|hospital|hotel|house|inc|institute|island|lab(?:oratory|s)?|lake|library|lines|llc|llp|ltd|mall|memorial|mines?|monument|mountain|museum|park|parkway|plant|plaza|port|press|refinery|reserve|reservoir|ridge|river|road|school|services?|site|sons?|springs|square|st|stadium|station|street|studios?|systems|theat(?:er|re)|tower|township|trail|trust|university|valley|village|ville|works|zoo)\b/iu;
/** What a place is called before the name. */
const calledBefore = /(?:camp|cape|fort|ft|lake|mount|mt|point|port|saint|san|santa|st|uss|usns|[&+])\.? *$/i;

interface Term {
  text: string;
  tags: string[];
}
interface Found {
  text: string;
  terms: Term[];
}

let loaded: Promise<NameFinder> | null = null;

/** The library, once a process. */
export function nameFinder(): Promise<NameFinder> {
  loaded ??= import('compromise').then(
    ({ default: nlp }) =>
      (texts: readonly string[]): boolean[] =>
        texts.map((text) => {
          const plain = inOrder(inTitleCase(text));
          return (nlp(plain).people().json() as Found[]).some((found) => isName(found, plain));
        }),
  );
  return loaded;
}

function isName({ text, terms }: Found, whole: string): boolean {
  const has = (tag: string): boolean => terms.some(({ tags }) => tags.includes(tag));
  if (terms.length < 2 || !has('FirstName') || !has('LastName')) return false;
  if (calledAfter.test(` ${terms.at(-1)?.text ?? ''} `)) return false;
  const at = whole.indexOf(text);
  if (at === -1) return true;
  return !calledAfter.test(whole.slice(at + text.length)) && !calledBefore.test(whole.slice(0, at));
}

/** Files of agencies write in capitals; the library reads capitals as acronyms. */
function inTitleCase(text: string): string {
  if (text !== text.toUpperCase()) return text;
  return text.toLowerCase().replaceAll(/(?<![\p{L}'’])\p{L}/gu, (letter) => letter.toUpperCase());
}

/** `Smith, John A` is `John A Smith`. */
function inOrder(text: string): string {
  const parts = /^(\p{L}[\p{L}'’ -]*), *(\p{L}[\p{L}'’. -]*)$/u.exec(text);
  if (!parts) return text;
  const [, last = '', first = ''] = parts;
  return first.split(' ').length <= 3 ? `${first} ${last}` : text;
}
