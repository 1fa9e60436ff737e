import type { RunPayload } from '../contracts/documents.ts';

/** The words of payloads and pipelines, as schemas/v1 has them; the types keep both alike. */
export const contentTypes = ['images', 'documents', 'text', 'mixed'] as const satisfies readonly ContentType[];
export type ContentType = RunPayload['content_type'];

export const useCases = [
  'vr',
  'ai-training',
  'research',
  'education',
  'preservation',
  'accessibility',
  'public-engagement',
  'policy',
  'economic-development',
  'national-security',
  'environmental',
  'cultural',
  'historical',
  'scientific',
] as const satisfies readonly UseCase[];
export type UseCase = RunPayload['use_case'];
