/**
 * Completes package-lock.json after an `npm install`: an optional binary for another platform that npm did not resolve gets
 * no entry, and `npm ci` then refuses the whole lockfile ("Missing: … from lock file"), on every platform. The entry names
 * the version that its parent pins, and its platform, so that npm skips it everywhere else.
 *
 * Usage: node scripts/complete-lockfile.ts [--check]
 */
import { readFileSync, writeFileSync } from 'node:fs';

export interface LockedPackage {
  version?: string;
  optionalDependencies?: Record<string, string>;
  optional?: boolean;
  dev?: boolean;
  os?: string[];
  cpu?: string[];
  libc?: string[];
  [key: string]: unknown;
}
export type LockedPackages = Record<string, LockedPackage>;

const file = new URL('../package-lock.json', import.meta.url);
const systems = ['android', 'darwin', 'freebsd', 'linux', 'openharmony', 'win32', 'aix', 'sunos'];
const processors = ['arm64', 'arm', 'ia32', 'x64', 'ppc64', 'riscv64', 's390x', 'loong64'];

/** The entries that are missing, by their place in the lockfile. */
export function missingEntries(packages: LockedPackages): LockedPackages {
  const missing: LockedPackages = {};
  for (const [place, { optionalDependencies = {}, dev }] of Object.entries(packages)) {
    for (const [name, version] of Object.entries(optionalDependencies)) {
      if (isLocked(packages, place, name)) continue;
      missing[`node_modules/${name}`] = { version, ...platformOf(name), ...(dev ? { dev } : {}), optional: true };
    }
  }
  return missing;
}

/** Node's resolution: the nearest node_modules on the way up from `place`. */
function isLocked(packages: LockedPackages, place: string, name: string): boolean {
  for (let folder = place; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
    if (`${folder === '' ? '' : `${folder}/`}node_modules/${name}` in packages) return true;
    if (folder === '') return false;
  }
}

/** `binding-linux-arm-gnueabihf` -> linux, arm, glibc: the naming that binary packages share. */
function platformOf(name: string): Pick<LockedPackage, 'os' | 'cpu' | 'libc'> {
  const words = name.split(/[-/]/);
  const os = systems.find((system) => words.includes(system));
  const cpu = processors.find((processor) => words.includes(processor));
  if (os === undefined || cpu === undefined)
    throw new Error(`Cannot tell the platform of ${name}; add its entry by hand.`);
  const libc = words.some((word) => word.startsWith('musl'))
    ? 'musl'
    : words.some((word) => word.startsWith('gnu'))
      ? 'glibc'
      : null;
  return { cpu: [cpu], ...(libc !== null ? { libc: [libc] } : {}), os: [os] };
}

if (import.meta.main) {
  const lock = JSON.parse(readFileSync(file, 'utf8')) as { packages: LockedPackages };
  const missing = missingEntries(lock.packages);
  const names = Object.keys(missing);
  if (process.argv.includes('--check')) {
    if (names.length > 0) {
      process.stderr.write(`package-lock.json lacks ${names.join(', ')}. Run: node scripts/complete-lockfile.ts\n`);
      process.exitCode = 1;
    }
  } else {
    const all = Object.entries({ ...lock.packages, ...missing });
    const compare = new Intl.Collator('en').compare;
    lock.packages = Object.fromEntries(all.sort(([a], [b]) => compare(a, b)));
    writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
    process.stdout.write(`package-lock.json: ${String(names.length)} entries added\n`);
  }
}
