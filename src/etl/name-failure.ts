import { FluxError } from '../errors.ts';

/** What failed while a batch was prepared, in the words of what it was about. @param transforms whether the pipeline has any */
export function nameFailure(cause: unknown, { format, transforms }: { format: string; transforms: boolean }): unknown {
  if (cause instanceof FluxError) return cause;
  const text = cause instanceof Error ? cause.message : String(cause);
  const [line = ''] = text.split('\n');
  if (format === 'parquet' && /parquet|snappy|zstd|corrupt|decompress|TProtocol|IO Error/i.test(text)) {
    return new FluxError('SOURCE_INVALID', `The Parquet file is damaged (${line}). Correct the source.`, { cause });
  }
  if (transforms) {
    return new FluxError('TRANSFORM_FAILED', `The transforms failed on the records: ${line}. Correct the pipeline.`, {
      cause,
    });
  }
  return new FluxError('INTERNAL', `Preparing a batch failed: ${line}.`, { cause });
}
