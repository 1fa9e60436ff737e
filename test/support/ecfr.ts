/** The figures of the eCFR sample, computed from its documents without Flux and without SQL. */

interface AgencyDocument {
  slug: string;
  name: string;
  short_name: string | null;
  cfr_references: { title: number }[];
  children?: AgencyDocument[];
}
interface CorrectionDocument {
  id: number;
  title: number;
  error_corrected: string;
  error_occurred: string | null;
}

export interface EcfrFigures {
  /** By slug. */
  agencies: {
    slug: string;
    parent: string | null;
    name: string;
    references: number;
    titles: number;
    corrections: number;
    index: string | null;
  }[];
  /** By id. */
  lags: [id: number, days: number | null][];
  titles: { title: number; corrections: number; meanLag: number | null }[];
  titleAgencies: [title: number, agencies: string[]][];
  /** `agency title year month` to corrections and mean lag. */
  cells: Map<string, { corrections: number; meanLag: number | null }>;
}

export function ecfrFigures(agenciesText: string, correctionsText: string): EcfrFigures {
  const { agencies: parents } = JSON.parse(agenciesText) as { agencies: AgencyDocument[] };
  const { ecfr_corrections: corrections } = JSON.parse(correctionsText) as { ecfr_corrections: CorrectionDocument[] };
  const all = parents.flatMap((agency) => [
    { agency, parent: null },
    ...(agency.children ?? []).map((child) => ({ agency: child, parent: agency.slug })),
  ]);
  const titlesOf = ({ cfr_references: references }: AgencyDocument): number[] => [
    ...new Set(references.map(({ title }) => title)),
  ];
  const agencies = all.map(({ agency, parent }) => {
    const titles = titlesOf(agency);
    const count = corrections.filter(({ title }) => titles.includes(title)).length;
    const references = agency.cfr_references.length;
    return {
      slug: agency.slug,
      parent,
      name: agency.name.trim(),
      references,
      titles: titles.length,
      corrections: count,
      index: indexOf(count, references),
    };
  });
  const numbers = [...new Set(corrections.map(({ title }) => title))].sort((a, b) => a - b);
  const written = [...new Set(all.flatMap(({ agency }) => titlesOf(agency)))].sort((a, b) => a - b);
  const groups = new Map<string, CorrectionDocument[]>();
  for (const correction of corrections) {
    const [year = '', month = ''] = correction.error_corrected.split('-');
    for (const { agency } of all) {
      if (!titlesOf(agency).includes(correction.title)) continue;
      const key = [agency.slug, correction.title, year, Number(month)].join(' ');
      groups.set(key, [...(groups.get(key) ?? []), correction]);
    }
  }
  return {
    agencies: agencies.sort((a, b) => (a.slug < b.slug ? -1 : 1)),
    lags: corrections.map((each): [number, number | null] => [each.id, lagOf(each)]).sort(([a], [b]) => a - b),
    titles: numbers.map((title) => {
      const of = corrections.filter((each) => each.title === title);
      return { title, corrections: of.length, meanLag: meanLag(of) };
    }),
    titleAgencies: written.map((title) => [
      title,
      all
        .filter(({ agency }) => titlesOf(agency).includes(title))
        .map(({ agency }) => agency.slug)
        .sort(),
    ]),
    cells: new Map([...groups].map(([key, of]) => [key, { corrections: of.length, meanLag: meanLag(of) }])),
  };
}

/** To two decimals in whole numbers, so that no binary fraction decides where a half goes. */
function indexOf(corrections: number, references: number): string | null {
  if (references === 0) return null;
  const hundredths = (2n * 10_000n * BigInt(corrections) + BigInt(references)) / (2n * BigInt(references));
  return `${String(hundredths / 100n)}.${String(hundredths % 100n).padStart(2, '0')}`;
}

function lagOf({ error_occurred: from, error_corrected: to }: CorrectionDocument): number | null {
  return from === null ? null : (Date.parse(to) - Date.parse(from)) / 86_400_000;
}

function meanLag(corrections: readonly CorrectionDocument[]): number | null {
  const lags = corrections.map(lagOf).filter((lag) => lag !== null);
  return lags.length === 0 ? null : lags.reduce((sum, lag) => sum + lag, 0) / lags.length;
}
