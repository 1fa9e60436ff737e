import { FluxError } from '../errors.ts';
import type { PipelineDefinition } from './engine-types.ts';
import type { PersonalDataColumn } from './staged-types.ts';

/** Whether a run of the pipeline looks at a sample of what it would load before it loads anything. */
export function refusesPersonalData(
  { personalData }: PipelineDefinition,
  stage: 'INGEST' | 'TRANSFORM' | 'EXPORT' | 'FULL' = 'FULL',
): boolean {
  // What INGEST leaves behind is what came in: sterilisation is a transform, and nobody can read its parts but the next stage.
  return personalData?.onFound === 'refuse' && stage !== 'INGEST';
}

/**
 * @throws PERSONAL_DATA_FOUND a column that the pipeline does not allow to seems to hold personal data; column, kind and share are named,
 * and no value
 */
export function requireNoPersonalColumns(
  { personalData }: PipelineDefinition,
  found: readonly PersonalDataColumn[],
): void {
  const { allowedColumns = [], minimumShare = 0 } = personalData ?? {};
  const refused = found.filter(
    ({ column, matches, checked }) => !allowedColumns.includes(column) && matches >= minimumShare * checked,
  );
  if (refused.length === 0) return;
  const shown = refused.slice(0, 5).map(({ column, kind, ...share }) => `${column} (${kind}, ${shareOf(share)})`);
  const more = refused.length > shown.length ? ` and ${String(refused.length - shown.length)} more` : '';
  throw new FluxError(
    'PERSONAL_DATA_FOUND',
    `A sample of what would be loaded seems to hold personal data, which the pipeline refuses: ${shown.join(', ')}${more}. ` +
      'Nothing was loaded. Sterilise these columns, or name them in personalData.allowedColumns.',
    {
      details: {
        issues: refused.slice(0, 50).map(({ column, kind, ...share }) => ({
          path: `/${column.replaceAll('~', '~0').replaceAll('/', '~1')}`,
          rule: 'personalData',
          message: `reads as ${kind} in ${shareOf(share)}`,
        })),
      },
    },
  );
}

function shareOf({ matches, checked }: { matches: number; checked: number }): string {
  const percent = Number(((matches / checked) * 100).toPrecision(3));
  return `${String(matches)} of ${String(checked)} values, ${String(percent)} %`;
}
