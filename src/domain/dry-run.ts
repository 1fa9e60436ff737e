import type { DryRunReport } from '../etl/engine-types.ts';

/** What a dry run found: what a run would do now. */
export interface DryRunPlan extends DryRunReport {
  /** The sample's shares, of the whole; null where the source's size is not known. */
  estimate: { recordsWritten: number | null; recordsRejected: number | null; recordsFiltered: number | null };
  /** What would become of the dataset; null where the stage ends in parts. */
  destination: DryRunDestination | null;
}

export interface DryRunDestination {
  dataset: string;
  mode: string;
  /** Whether there is such a dataset now. */
  exists: boolean;
  /** Whether its columns are those of the output; a run fails with DESTINATION_CONFLICT otherwise. */
  fits: boolean;
  added: readonly { name: string; type: string }[];
  removed: readonly { name: string; type: string }[];
  changed: readonly { name: string; from: string; to: string }[];
  /** Loads and records that its readers see now. */
  loads: number;
  records: string;
  /** Loads that the run would take the place of. */
  supersededLoads: number;
}
