import { useEffect, useRef, useState } from 'react';

import { Problem } from '../components/problem.tsx';
import { bytes, download } from '../format.ts';
import { useSession } from '../use-session.ts';

interface Saved {
  fileName: string;
  size: number;
  /** Null where this page cannot compute it. */
  sha256: string | null;
}

type State =
  { at: 'rest' } | { at: 'coming'; size: number } | { at: 'saved'; saved: Saved } | { at: 'failed'; error: unknown };

/** Above this a page would need too much memory for it: the digest is taken of all bytes at once. */
const digestBytesMax = 512 * 1024 * 1024;

/** A dataset as one file, for those who may read data. */
export function PackageDownload({ dataset }: { dataset: string }) {
  const { flux, may, viewer } = useSession();
  const [state, setState] = useState<State>({ at: 'rest' });
  const leaving = useRef<AbortController | null>(null);
  // Who leaves the page waits for it no more.
  useEffect(() => () => leaving.current?.abort(), []);
  if (!may('data:read')) {
    return (
      <p>
        The package of this dataset can be downloaded by roles with data:read; the role {viewer.role.toLowerCase()} does
        not have it.
      </p>
    );
  }
  const start = async (): Promise<void> => {
    const stop = new AbortController();
    leaving.current = stop;
    setState({ at: 'coming', size: 0 });
    try {
      const { content, fileName } = await flux.datasets.package(dataset, { signal: stop.signal });
      const file = await collected(content, (size) => setState({ at: 'coming', size }));
      const sha256 = await digestOf(file);
      stop.signal.throwIfAborted();
      download(fileName, file, 'application/zip');
      setState({ at: 'saved', saved: { fileName, size: file.size, sha256 } });
    } catch (error) {
      setState(stop.signal.aborted ? { at: 'rest' } : { at: 'failed', error });
    }
  };
  return (
    <section className="package" aria-label="Package">
      {state.at === 'coming' ? (
        <button type="button" className="usa-button usa-button--outline" onClick={() => leaving.current?.abort()}>
          Cancel the download
        </button>
      ) : (
        <button type="button" className="usa-button" onClick={() => void start()}>
          Download package
        </button>
      )}
      <div role="status">
        {state.at === 'rest' && (
          <p>All of it in one ZIP archive, a Frictionless Data Package: CSV, dictionary, lineage, checksums.</p>
        )}
        {state.at === 'coming' && <p>Downloading: {bytes(state.size)} …</p>}
        {state.at === 'saved' && <SavedPackage {...state.saved} />}
      </div>
      {state.at === 'failed' && <Problem error={state.error} title="The package did not come whole" />}
    </section>
  );
}

function SavedPackage({ fileName, size, sha256 }: Saved) {
  return (
    <p>
      {fileName}, {bytes(size)}
      {sha256 === null ? (
        '; its SHA-256 is in the audit log, and flux datasets package prints it'
      ) : (
        <>
          , SHA-256 <code className="digest">{sha256}</code>
        </>
      )}
    </p>
  );
}

/** How often the count is drawn at most. */
const drawMs = 200;

/** All of it, which the browser may keep on its disk. @param onMore told of the bytes until now */
async function collected(
  content: ReadableStream<Uint8Array<ArrayBuffer>>,
  onMore: (size: number) => void,
): Promise<Blob> {
  let size = 0;
  let drawn = performance.now();
  const counted = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
    transform(piece, passed) {
      size += piece.length;
      passed.enqueue(piece);
      if (performance.now() - drawn < drawMs) return;
      drawn = performance.now();
      onMore(size);
    },
  });
  return new Response(content.pipeThrough(counted)).blob();
}

/** Null over plain HTTP from another machine, where browsers compute none, and for what is very large. */
async function digestOf(file: Blob): Promise<string | null> {
  if (!isSecureContext || file.size > digestBytesMax) return null;
  const digest = await crypto.subtle.digest('SHA-256', await file.arrayBuffer());
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
