/** What a package says of the dataset in it: all of it as one reader may see it at one moment. */
export interface PackageFacts {
  agency: string;
  dataset: string;
  columns: readonly { name: string; type: string }[];
  /** When a run first opened the dataset. */
  createdAt: Date;
  /** The published loads that the reader may see, in their order. */
  loads: readonly PackagedLoad[];
  /** The versions of pipelines that wrote them, as far as the reader may see those. */
  pipelines: readonly PackagedPipeline[];
  /** The contract of the newest load's pipeline, as JSON Schema text; null where it is not known. */
  contract: string | null;
}

/** One run's records in the dataset. */
export interface PackagedLoad {
  loadNo: bigint;
  mode: string;
  publishedAt: Date;
  /** Records that the run wrote. */
  written: bigint;
  /** Of these, how many merges of later loads have replaced. */
  replaced: bigint;
  runId: string;
  pipeline: string;
  pipelineVersion: number;
  /** As payloads write it. */
  useCase: string;
  /** 0 (U) to 5 (SCI). */
  classification: number;
  /** What was pinned and read; null where the run pinned none. */
  source: { connection: string; sha256: string } | null;
}

export interface PackagedPipeline {
  name: string;
  version: number;
  title: string;
  /** The registered document. */
  definition: string;
}
