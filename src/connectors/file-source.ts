import { constants, type Stats } from 'node:fs';
import { type FileHandle, open, realpath, stat } from 'node:fs/promises';
import { isAbsolute, join, relative, resolve, sep } from 'node:path';
import { FluxError } from '../errors.ts';
import type { SourceConnector, SourceRequest, SourceStream } from './source.ts';

const blockBytes = 1 << 20;

/**
 * Files below the roots of a connection, each of which must lie below a folder that the operator allows the agency
 * (FLUX_SOURCE_ROOTS). A relative root is taken from each of those folders. Symbolic links are followed first and judged by
 * where they end, so that none leads out.
 *
 * @param sourceRoots agency -> absolute folders
 */
export function createFileSource(sourceRoots: Readonly<Record<string, readonly string[]>>): SourceConnector {
  return {
    async open(request) {
      checkRelative(request.source.path);
      const roots = await openRoots(request, sourceRoots[request.agency] ?? []);
      const { path, file } = await findFile(request, roots);
      try {
        const before = await file.stat();
        checkReadable(request.source.path, before);
        return stream(request, path, file, before);
      } catch (cause) {
        await file.close();
        throw cause;
      }
    },
  };
}

function checkRelative(path: string): void {
  if (isAbsolute(path) || path.includes('\0') || path.split(/[\\/]/).includes('..')) {
    throw invalid(
      `Expected a path inside the connection's folders, found "${path}". Use a relative path without "..".`,
    );
  }
}

/** The connection's folders that exist and lie below the agency's own, as real paths. */
async function openRoots(request: SourceRequest, allowed: readonly string[]): Promise<string[]> {
  const asked = request.connection.config['roots'];
  if (!Array.isArray(asked))
    throw invalid(`Connection "${request.connection.name}" names no roots. Register it with config.roots.`);
  if (allowed.length === 0) {
    throw invalid(`Agency "${request.agency}" may read no folder. Ask the operator to add one to FLUX_SOURCE_ROOTS.`);
  }
  const realAllowed = await realFolders(allowed);
  const candidates = asked
    .filter((root): root is string => typeof root === 'string')
    .flatMap((root) => (isAbsolute(root) ? [root] : allowed.map((folder) => resolve(folder, root))));
  const roots = (await realFolders(candidates)).filter((root) => realAllowed.some((folder) => isInside(folder, root)));
  if (roots.length === 0) {
    throw invalid(
      `No root of connection "${request.connection.name}" lies inside a folder that agency "${request.agency}" may read. ` +
        'Change config.roots, or ask the operator to allow the folder in FLUX_SOURCE_ROOTS.',
    );
  }
  return roots;
}

async function realFolders(folders: readonly string[]): Promise<string[]> {
  const real = await Promise.all(folders.map((folder) => realpath(folder).catch(() => null)));
  return real.filter((folder) => folder !== null);
}

function isInside(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way === '' || (!isAbsolute(way) && way !== '..' && !way.startsWith(`..${sep}`));
}

async function findFile(request: SourceRequest, roots: readonly string[]): Promise<{ path: string; file: FileHandle }> {
  for (const root of roots) {
    const path = await realpath(join(root, request.source.path)).catch(() => null);
    if (path === null) continue;
    if (!isInside(root, path)) {
      throw invalid(
        `"${request.source.path}" leads out of the folders of connection "${request.connection.name}". Move the file inside.`,
      );
    }
    return { path, file: await openFile(request, path) };
  }
  throw invalid(
    `"${request.source.path}" does not exist in connection "${request.connection.name}". Check source.path, or put the file there.`,
  );
}

/** O_NOFOLLOW: the real path has no link in its last place, unless somebody put one there since it was resolved. */
async function openFile(request: SourceRequest, path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    if (code === 'EMFILE' || code === 'ENFILE' || code === 'EIO') {
      throw new FluxError(
        'SOURCE_UNAVAILABLE',
        `"${request.source.path}" could not be opened (${code}). Flux tries again.`,
        {
          cause,
        },
      );
    }
    throw invalid(
      `"${request.source.path}" exists but cannot be read (${code}). Give Flux's user the right to read it.`,
      cause,
    );
  }
}

function checkReadable(path: string, found: Stats): void {
  if (!found.isFile())
    throw invalid(`Expected a file at "${path}", found ${found.isDirectory() ? 'a folder' : 'a special file'}.`);
  if (found.size === 0) throw invalid(`"${path}" is empty (0 bytes). Expected at least one record.`);
}

function stream(request: SourceRequest, path: string, file: FileHandle, before: Stats): SourceStream {
  return {
    origin: `file:${request.source.path}`,
    modifiedAt: before.mtime,
    byteCount: before.size,
    bytes: readWhole(request, path, file, before),
  };
}

async function* readWhole(
  request: SourceRequest,
  path: string,
  file: FileHandle,
  before: Stats,
): AsyncGenerator<Uint8Array> {
  let next: Promise<{ bytesRead: number }> | null = null;
  try {
    let byteCount = 0;
    // Two for all of them, one is read while the other is used: fresh ones stay until the next collection, 60 MB of a worker's memory.
    const buffers = [Buffer.allocUnsafeSlow(blockBytes), Buffer.allocUnsafeSlow(blockBytes)] as const;
    let current: Buffer = buffers[0];
    next = file.read({ buffer: current, length: blockBytes });
    for (;;) {
      request.signal.throwIfAborted();
      const { bytesRead } = await next;
      if (bytesRead === 0) break;
      byteCount += bytesRead;
      const block = current.subarray(0, bytesRead);
      current = current === buffers[0] ? buffers[1] : buffers[0];
      next = file.read({ buffer: current, length: blockBytes });
      // Awaited in the next turn; until then a failure must not count as unhandled.
      next.catch(() => undefined);
      yield block;
    }
    await checkUnchanged(request.source.path, path, before, byteCount);
  } finally {
    // Nothing is read into a block that nobody holds any more, nor from a file that is closed.
    await next?.catch(() => undefined);
    await file.close();
  }
}

/** A file that somebody writes while we copy would be pinned as a mix of two states. */
async function checkUnchanged(name: string, path: string, before: Stats, byteCount: number): Promise<void> {
  const after = await stat(path).catch(() => null);
  if (
    after === null ||
    after.mtimeMs !== before.mtimeMs ||
    after.size !== byteCount ||
    before.size !== byteCount ||
    after.ino !== before.ino
  ) {
    throw new FluxError(
      'SOURCE_UNAVAILABLE',
      `"${name}" changed while it was copied. Flux tries again; let the writer finish first.`,
    );
  }
}

function invalid(message: string, cause?: unknown): FluxError {
  return new FluxError('SOURCE_INVALID', message, cause === undefined ? {} : { cause });
}
