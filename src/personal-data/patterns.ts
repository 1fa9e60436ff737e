/**
 * How personal data are written: the one place that knows it. Masks of texts, log lines and rejected records, the refusal of texts that are
 * kept to the letter, and the detection in columns (detect.ts) all read this table.
 */
import {
  isBirthDate,
  isCard,
  isIssuedEin,
  isIssuedSsn,
  isPhone,
  isProviderIdentifier,
  isRoutingNumber,
} from './checks.ts';

/** What identifies a person, or whom to pay, by how it is written. */
export const kinds = ['ssn', 'ein', 'card', 'routing number', 'npi', 'phone', 'email', 'date of birth'] as const;
export type PersonalKind = (typeof kinds)[number];

/** Digits that stand in a longer word or number are part of that. */
const apart = { before: String.raw`(?<![\w.-])`, after: String.raw`(?![\w-])` };
/** In names of files and the like a number of social security also stands after a word: `jones-219-09-9999.csv`, `ssn_219-09-9999`. */
const apartOfWords = { before: String.raw`(?<![\p{L}\p{N}.]|[^\p{L}_]-)`, after: String.raw`(?![\p{L}\p{N}-])` };
const dash = '[-\u2010-\u2015 ]';
const month =
  'jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?';
const date = String.raw`\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[/.-]\d{1,2}[/.-](?:\d{4}|\d{2})|(?:${month})\.? \d{1,2},? \d{4}|\d{1,2} (?:${month})\.? \d{4}|\d{8}`;
/** A date is a date of birth where something says so; so is a bare number of nine digits where something says what it is. */
const afterWords = (words: string): string =>
  String.raw`(?=[\da-z])(?<=\b(?:${words})[^\w]{1,5}(?:(?:is|was|on|number|no)\b[^\w]{1,3})?)`;

/** What finds out cheaply that a text cannot hold what a pattern looks for. */
type Worth = Pick<RegExp, 'test'>;
/**
 * Every number of this group has nine digits or more, with at most two characters between two of them, or begins with a plus. Sums, dates and
 * numbers of rows have fewer, and the patterns take ten times as long to say so.
 */
const nineDigits = /(?:\d[-\u2010-\u2015 .()]{0,2}){9}|\+\d/;

type Written = readonly (readonly [PersonalKind | 'keep', string])[];

/**
 * Patterns that are tried together: the first that fits at a place wins, so what is kept is not looked into. Each group is tried only
 * on texts that `worth` finds something in, because most texts hold nothing and are many.
 *
 * Inclusive where the law is: every number written like one of social security is taken for one (also those of the IRS, which begin
 * with 9, and those that were never given out), because a list of what is valid goes stale.
 */
const groups: readonly { worth: Worth; written: Written }[] = [
  {
    worth: /@/,
    written: [['email', String.raw`[\p{L}\p{N}._%+'-]{1,64}@(?:[\p{L}\p{N}-]{1,63}\.){1,8}\p{L}{2,24}`]],
  },
  {
    worth: /\b(?:d\.?o\.?b\b|date[ _]of[ _]birth|birth[ _]?da|born)/i,
    written: [
      [
        'date of birth',
        String.raw`${afterWords('dob|d\\.o\\.b\\.|date[ _]of[ _]birth|birth[ _]?date|birthday|born')}(?:${date})${apart.after}`,
      ],
    ],
  },
  {
    worth: /\b(?:ssn|social security|taxpayer id|i?tin)\b/i,
    written: [
      [
        'ssn',
        String.raw`${afterWords('ssn|social security|social security number|taxpayer id|tin|itin')}\d{9}${apart.after}`,
      ],
    ],
  },
  {
    worth: /\b(?:routing|aba|rtn)\b/i,
    written: [
      [
        'routing number',
        String.raw`${afterWords('routing|routing number|aba|aba routing|aba number|rtn|routing transit number')}\d{9}${apart.after}`,
      ],
    ],
  },
  {
    worth: /\bnpi\b|\bnational provider/i,
    written: [['npi', String.raw`${afterWords('npi|national provider identifier')}\d{10}${apart.after}`]],
  },
  {
    worth: { test: (text) => /\d{4}/.test(text) && nineDigits.test(text) },
    written: [
      // What looks like digits with dashes and names nobody: ids and times.
      ['keep', String.raw`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`],
      ['keep', String.raw`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z?`],
      ['ssn', `${apartOfWords.before}\\d{3}${dash}\\d{2}${dash}\\d{4}${apartOfWords.after}`],
      ['ein', String.raw`${apart.before}\d{2}-\d{7}${apart.after}`],
      [
        'card',
        `${apart.before}(?:3[47]\\d{2}${dash}?\\d{6}${dash}?\\d{5}|3(?:0[0-5]|[689]\\d)\\d${dash}?\\d{6}${dash}?\\d{4}|[2-6]\\d{3}(?:${dash}?\\d{4}){3})${apart.after}`,
      ],
      ['phone', String.raw`(?<![\w.-])\+\d{1,3}(?:[ .-]?\(?\d{2,4}\)?){2,5}${apart.after}`],
      [
        'phone',
        String.raw`${apart.before}(?:1[-. ])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-. ])[2-9]\d{2}[-. ]\d{4}${apart.after}`,
      ],
    ],
  },
];

/**
 * What a match must pass to be taken for its kind at all. A number of social security or of an employer, and a phone, are masked in any
 * case; with a check digit, nine of ten numbers of that form are something else.
 */
const checks: Partial<Record<PersonalKind, (match: string) => boolean>> = {
  card: isCard,
  'routing number': isRoutingNumber,
  npi: isProviderIdentifier,
};

/**
 * A value that is the whole of a column's field: narrower than what is masked, because a column of numbers that only look like it would
 * drown a report, while a mask that lets one through is a leak. `bare` is the form that counts where the column's name says what it is.
 */
export const columnRules: Readonly<
  Record<PersonalKind, { issued?: (match: string) => boolean; bare?: RegExp; isBare?: (value: string) => boolean }>
> = {
  ssn: { issued: isIssuedSsn, bare: /^\d{9}$/ },
  ein: { issued: isIssuedEin, bare: /^\d{9}$/ },
  card: { issued: isCard, bare: /^\d{13,19}$/ },
  'routing number': { issued: isRoutingNumber, bare: /^\d{9}$/ },
  npi: { issued: isProviderIdentifier, bare: /^\d{10}$/ },
  phone: { issued: isPhone, bare: /^\+?\d{10,15}$/ },
  email: {},
  'date of birth': { isBare: isBirthDate },
};

interface Pattern {
  worth: Worth;
  all: RegExp;
  /** The kind that a match has the form of; null where it is only kept from the others. */
  formOf(named: Record<string, string | undefined>): PersonalKind | null;
  /** The kind of a match; null when it names nobody after all. */
  kindOf(match: string, named: Record<string, string | undefined>): PersonalKind | null;
}

/** The groups in the order in which a text goes through them. */
export const patterns: readonly Pattern[] = groups.map(({ worth, written }) => {
  const named = written.map(([kind, pattern], i) => ({ name: `g${String(i)}`, kind, pattern }));
  const formOf: Pattern['formOf'] = (found) => {
    const kind = named.find(({ name }) => found[name] !== undefined)?.kind ?? 'keep';
    return kind === 'keep' ? null : kind;
  };
  return {
    worth,
    all: new RegExp(named.map(({ name, pattern }) => `(?<${name}>${pattern})`).join('|'), 'giu'),
    formOf,
    kindOf(match, found) {
      const kind = formOf(found);
      return kind === null || checks[kind]?.(match) === false ? null : kind;
    },
  };
});

/** A field's name can also say what no pattern would: that a person's name, or the number of a document, stands in it. */
export type FieldKind = PersonalKind | 'name' | 'document';

/** Names of fields that hold personal data whatever is written in them; compared without case and without what joins words. */
const namedFields: readonly (readonly [RegExp, FieldKind])[] = [
  [/^(?:.*)?(?:ssn|socialsecurity(?:number|no|num)?)$/, 'ssn'],
  [/^(?:taxpayerid|taxid|itin|tin)$/, 'ssn'],
  [/^f?(?:ein|employeridentificationnumber|employerid)$/, 'ein'],
  [
    /^(?:bank|ach|wire)?(?:routing(?:transit)?(?:number|no|num)|aba(?:routing)?(?:number|no|num)?|rtn)$/,
    'routing number',
  ],
  [
    /^(?:provider|billing|rendering|attending|referring|prescriber|facility|organization)?npi(?:number|no|id)?$|^nationalprovideridentifier$/,
    'npi',
  ],
  [/^(?:.*)?(?:creditcard|cardnumber|creditcardnumber|cardno)$/, 'card'],
  [
    /^(?:home|work|cell|mobile|contact|office|day|evening|emergency|primary|patient|customer)?(?:phone|telephone|fax)(?:number|no)?$|^(?:tel|cell|mobile)(?:number|no)$/,
    'phone',
  ],
  [/^(?:.*)?(?:email|emailaddress|emailaddr)$/, 'email'],
  [/^(?:.*)?(?:dob|dateofbirth|birthdate|birthday|birthdt)$|^born(?:on)?$/, 'date of birth'],
  [/^(?:first|last|middle|full|maiden|mothersmaiden|given|family)name$|^surname$/, 'name'],
  [/^(?:passport|driverslicense|driverlicense|driverslicence|alienregistration)(?:number|no)?$/, 'document'],
];

const knownNames = new Map<string, FieldKind | null>();
/** The names in use are few; those that a stranger makes up must not fill the memory. */
const knownNamesMax = 2_000;

/** What a field of this name holds; null when the name does not say. */
export function kindOfField(name: string): FieldKind | null {
  const known = knownNames.get(name);
  if (known !== undefined) return known;
  const plain = name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
  const kind = namedFields.find(([pattern]) => pattern.test(plain))?.[1] ?? null;
  if (knownNames.size < knownNamesMax) knownNames.set(name, kind);
  return kind;
}
