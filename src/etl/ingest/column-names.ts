import { FluxError } from '../../errors.ts';

const byteCountMax = 63;

/**
 * The dataset's name for a property or a heading: lower case, words joined by `_` ("Cost Total $" is cost_total, magType is
 * mag_type), nested names joined likewise (properties.mag is properties_mag). Postgres would cut names after 63 bytes, so we
 * do.
 */
export function columnName(path: readonly string[]): string {
  const words = path
    .join(' ')
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .replace(/(\p{Ll}|\d)(\p{Lu})/gu, '$1 $2')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '_')
    .replace(/^_+|_+$/g, '');
  const name = words === '' ? 'column' : /^[0-9]/.test(words) ? `c_${words}` : words;
  return name.slice(0, byteCountMax).replace(/_+$/, '');
}

/** @throws SOURCE_INVALID two properties would be one column, or one would be Flux's own */
export function checkColumnNames(columns: readonly { name: string; original: string }[]): void {
  const seen = new Map<string, string>();
  for (const { name, original } of columns) {
    const other = seen.get(name);
    if (other !== undefined) {
      throw new FluxError(
        'SOURCE_INVALID',
        `"${other}" and "${original}" both become the column "${name}". Rename one in the source.`,
      );
    }
    seen.set(name, original);
    checkOwnPrefix(name);
  }
}

export function checkOwnPrefix(name: string): void {
  if (name.startsWith('_flux_') || name.startsWith('flux_load') || name.startsWith('flux_record')) {
    throw new FluxError(
      'SOURCE_INVALID',
      `The column "${name}" looks like one of Flux's own. Rename it in the source.`,
    );
  }
}
