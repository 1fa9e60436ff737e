import { classifications } from '../../src/auth/principal.ts';
import type { AgencyManifest } from '../../src/contracts/generated.ts';
import { addAgency } from '../../src/domain/provision-agency.ts';

/** What a test may want otherwise than usual. */
export interface AgencyOverrides {
  name?: string;
  abbreviation?: string;
  supportedContentTypes?: AgencyManifest['supported_content_types'];
  supportedUseCases?: AgencyManifest['supported_use_cases'];
  /** 0 (U) to 5 (SCI). */
  dataClassification?: number;
  retentionDays?: number;
  retentionFloorDays?: number;
  enabled?: boolean;
}

/** Adds an agency as `flux agencies add` does, its audit entry (`agency.add`) included. */
export async function provisionTestAgency(
  { adminUrl, contextKey }: { adminUrl: string; contextKey: Buffer },
  slug: string,
  overrides: AgencyOverrides,
): Promise<void> {
  const { retentionFloorDays = 0, ...chosen } = overrides;
  const manifest: AgencyManifest = {
    slug,
    name: chosen.name ?? `Agency ${slug}`,
    abbreviation: chosen.abbreviation ?? slug.toUpperCase(),
    supported_content_types: chosen.supportedContentTypes ?? ['images', 'documents', 'text', 'mixed'],
    supported_use_cases: chosen.supportedUseCases ?? [
      'research',
      'scientific',
      'environmental',
      'economic-development',
      'education',
    ],
    data_classification: classifications[chosen.dataClassification ?? 5] ?? 'SCI',
    retention_days: chosen.retentionDays ?? 2555,
    enabled: chosen.enabled ?? true,
  };
  await addAgency({ adminUrl, contextKey, actor: 'operator:test', retentionFloorDays }, manifest);
}
