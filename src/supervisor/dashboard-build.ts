import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

import type { Logger } from '../telemetry/logger.ts';

const script = fileURLToPath(new URL('../../dashboard/build.ts', import.meta.url));

/**
 * Builds the dashboard of a checkout, if its sources are newer than what was built, beside everything else that starts; the API shows
 * it as soon as it is there. A production installation has no build tools and brings what was built. Nothing depends on it: a build
 * that fails is only told of.
 *
 * @returns ends the build if it is still under way
 */
export function startDashboardBuild(logger: Pick<Logger, 'info'>): () => Promise<void> {
  if (!existsSync(script) || !hasBuildTools()) return () => Promise.resolve();
  const child = spawn(process.execPath, [script, '--if-stale'], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (data: Buffer) => (said = (said + data.toString()).slice(-2_000)));
  const ended = new Promise<void>((resolve) => {
    const end = (why: string | null): void => {
      if (why !== null) logger.info({ why }, 'the dashboard was not built');
      resolve();
    };
    child.once('error', ({ message }) => end(message));
    child.once('close', (code) => end(code === 0 ? null : said));
  });
  return () => {
    child.kill('SIGTERM');
    return ended;
  };
}

function hasBuildTools(): boolean {
  try {
    createRequire(script).resolve('vite');
    return true;
  } catch {
    return false;
  }
}
