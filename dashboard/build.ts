/**
 * Builds the dashboard into dist/. `flux up` and `flux demo` do so in a checkout whenever the sources are newer than the build.
 *
 * Usage: node dashboard/build.ts [--if-stale]
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const here = import.meta.dirname;
const dist = path.join(here, 'dist');
const sdk = path.join(here, '..', 'sdk', 'src');
const stampFile = 'build.sha256';

/** What the build is made of; dependencies are in the lockfile. */
function stamp(): string {
  const hash = createHash('sha256');
  const folders = [path.join(here, 'src'), sdk];
  const files = folders.flatMap((folder) =>
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.join(entry.parentPath, entry.name)),
  );
  const others = ['index.html', 'build.ts', 'package.json', '../package-lock.json'].map((name) =>
    path.join(here, name),
  );
  for (const file of [...files.sort(), ...others]) {
    hash.update(path.relative(here, file));
    hash.update(readFileSync(file));
  }
  return hash.digest('hex');
}

function isFresh(now: string): boolean {
  const file = path.join(dist, stampFile);
  return existsSync(file) && readFileSync(file, 'utf8') === now;
}

const now = stamp();
if (!process.argv.includes('--if-stale') || !isFresh(now)) {
  // Built aside and put in place whole: a server may be reading the old one, and two builds may run at once.
  const draft = path.join(here, `dist.${String(process.pid)}.tmp`);
  const old = `${draft}.old`;
  const uswds = [here, path.join(here, '..')]
    .map((folder) => path.join(folder, 'node_modules', '@uswds', 'uswds'))
    .find(existsSync);
  if (uswds === undefined) throw new Error('@uswds/uswds is not installed; run npm ci.');
  try {
    // Vite takes over what the caller's environment says, a test's or a developer's: React would be its development build, several
    // times as slow.
    // eslint-disable-next-line no-restricted-syntax -- written, not read: Vite has no other way
    process.env.NODE_ENV = 'production';
    // Loaded only when there is something to build.
    const { build } = await import('vite');
    await build({
      root: here,
      configFile: false,
      logLevel: 'warn',
      resolve: {
        alias: {
          // The longer name first: the other is its beginning.
          '@flux-etl/sdk/inputs': path.join(sdk, 'generated', 'inputs.ts'),
          '@flux-etl/sdk': path.join(sdk, 'index.ts'),
          '@uswds-dist': path.join(uswds, 'dist'),
        },
      },
      css: {
        preprocessorOptions: {
          scss: { loadPaths: [path.join(uswds, 'packages')], quietDeps: true },
        },
      },
      build: {
        outDir: draft,
        target: 'es2022',
        // Every file has an address of its own: the page's policy allows no data: addresses.
        assetsInlineLimit: 0,
        modulePreload: { polyfill: false },
        reportCompressedSize: false,
        rolldownOptions: { checks: { pluginTimings: false } },
      },
    });
    writeFileSync(path.join(draft, stampFile), now);
    if (existsSync(dist)) renameSync(dist, old);
    renameSync(draft, dist);
  } finally {
    rmSync(draft, { recursive: true, force: true });
    rmSync(old, { recursive: true, force: true });
  }
}
