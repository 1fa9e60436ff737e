import { FluxError } from '../errors.ts';

/** What DuckDB says of bytes that are no Parquet; the last of Thrift's and of its encodings' readers, in their own words. */
const damaged =
  /parquet|snappy|zstd|gzip|brotli|lz4|corrupt|decompress|TProtocol|IO Error|don't know what type|page header|Failed to read file|Out of buffer|end of file/i;

/** What failed while a batch was prepared, in the words of what it was about. @param transforms whether the pipeline has any */
export function nameFailure(cause: unknown, { format, transforms }: { format: string; transforms: boolean }): unknown {
  if (cause instanceof FluxError) return cause;
  const text = cause instanceof Error ? cause.message : String(cause);
  // Where the work lies on this machine is nobody's business.
  const line = (text.split('\n')[0] ?? '').replaceAll(/(["'])\/.*?\1/g, 'the source');
  if (format === 'parquet' && /^Out of Memory/.test(text) && !transforms) {
    return new FluxError(
      'SOURCE_INVALID',
      `The Parquet file needs more memory than a step has: its pages, or its records, are too large (${line}). Write it with smaller row groups and pages.`,
      { cause },
    );
  }
  if (format === 'parquet' && damaged.test(text)) {
    return new FluxError('SOURCE_INVALID', `The Parquet file is damaged (${line}). Correct the source.`, { cause });
  }
  if (transforms) {
    return new FluxError('TRANSFORM_FAILED', `The transforms failed on the records: ${line}. Correct the pipeline.`, {
      cause,
    });
  }
  return new FluxError('INTERNAL', `Preparing a batch failed: ${line}.`, { cause });
}
