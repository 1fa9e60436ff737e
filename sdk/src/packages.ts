import type { Client } from './client.ts';
import { type FluxError, fromWire, unavailable } from './errors.ts';

/** A dataset as one file, while it comes. */
export interface DatasetPackage {
  /** What the file may be called. */
  readonly fileName: string;
  /** A ZIP archive. It fails when the package breaks off: what came until then is not whole, and cannot be gone on with. */
  readonly content: ReadableStream<Uint8Array<ArrayBuffer>>;
}

/**
 * Downloads a dataset as a Frictionless Data Package: the published loads that the caller may see, of one moment. The API makes it while it is
 * read, so read it or cancel it. Needs the scope `data:read`.
 *
 * @param options.signal ends it, also while the content comes
 * @throws FluxError NOT_FOUND, FORBIDDEN, LIMIT_EXCEEDED the agency downloads as many as it may; UNAVAILABLE nothing answers
 */
export async function downloadPackage(
  { settings, closed }: Pick<Client, 'settings' | 'closed'>,
  dataset: string,
  { signal }: { signal?: AbortSignal } = {},
): Promise<DatasetPackage> {
  const url = new URL(`/v1/datasets/${encodeURIComponent(dataset)}/package`, settings.endpoint).href;
  for (let refused = false; ; refused = true) {
    const token = await settings.token.current();
    const response = await settings
      .fetch(url, {
        headers: { authorization: `Bearer ${token}` },
        // No time is set for all of it: it may be long.
        signal: signal ? AbortSignal.any([signal, closed]) : closed,
      })
      .catch((cause: unknown) => {
        signal?.throwIfAborted();
        throw unavailable(`No Flux API gives ${dataset} at ${new URL(url).origin}.`, cause);
      });
    if (response.status === 401 && !refused) {
      await response.body?.cancel();
      await settings.token.replace(token);
      continue;
    }
    if (!response.ok || !response.body) throw await problemOf(response, dataset);
    const [, fileName = `${dataset}.zip`] =
      /filename="([^"]+)"/.exec(response.headers.get('content-disposition') ?? '') ?? [];
    return { fileName, content: response.body };
  }
}

async function problemOf(response: Response, dataset: string): Promise<FluxError> {
  const { detail, ...extensions } = ((await response.json().catch(() => undefined)) ?? {}) as Record<string, unknown>;
  const message =
    typeof detail === 'string' ? detail : `The API answers ${String(response.status)} to the package of ${dataset}.`;
  return fromWire({ message, extensions }, response.status);
}
